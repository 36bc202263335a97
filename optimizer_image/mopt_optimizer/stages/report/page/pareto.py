"""The forms that no other is better than in everything: quality, speed, memory and cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import QualityResult
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.jobs.selection import figures_of
from mopt_api.metrics import metric_in_words
from mopt_api.pareto import dominators
from mopt_api.spec import QualityGate
from mopt_api.tradeoffs import goodness_of, is_compared, shown_quality

from . import figures


@dataclass(frozen=True)
class ParetoRow:
    """A form with the figures that are compared.

    Attributes:
        by: The form on the front that is better in something and worse in nothing; None on it.
        cost: Of a sample, in times of the baseline's: the price is the same on one target.
    """

    name: str
    chosen: bool
    by: str | None
    quality: str
    speed: str
    memory: str
    cost: str


def pareto(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> list[ParetoRow]:
    """Return the forms that passed the gates, those on the front first.

    A figure that is not known is the worst. The baseline's quality, where outputs are compared with
    its own, is the best.
    """
    shown = [v for v in result.everyone if v.points and is_compared(v.state, v.reason)]
    gate, under_load = next(iter(plan.quality), None), _is_loaded(result)
    better = dominators(
        {
            form.name: goodness_of(
                form.name,
                form.quality,
                figures_of(form, result.objective_point),
                gate,
                price=1.0,
                under_load=under_load,
            )
            for form in shown
        }
    )
    rows = [_row(form, better[form.name], result, gate) for form in shown]
    return sorted(rows, key=lambda row: row.by is not None)


def _is_loaded(result: MeasureResult) -> bool:
    return any(variant.load for variant in result.everyone)


def _row(
    variant: VariantResult, by: str | None, result: MeasureResult, gate: QualityGate | None
) -> ParetoRow:
    shown = figures_of(variant, result.objective_point)
    reference = figures_of(result.baseline, result.objective_point) if result.baseline else None
    cost, whole = (
        each and each.cost(ObjectiveMetric.COST_PER_MILLION, under_load=_is_loaded(result))
        for each in (shown, reference)
    )
    return ParetoRow(
        name=variant.name,
        chosen=variant.name == result.selected,
        by=by,
        quality=_quality_text(shown_quality(gate, variant.quality)),
        speed=figures.milliseconds(shown.cost(ObjectiveMetric.LATENCY_P50)),
        memory=figures.size(variant.peak_memory_bytes),
        cost=figures.ratio(cost / whole if cost and whole else None),
    )


def _quality_text(shown: QualityResult | None) -> str:
    if shown is None:
        return figures.NOT_MEASURED
    return f"{shown.metric} {metric_in_words(shown.metric, shown.worst, exact=shown.exact)}"
