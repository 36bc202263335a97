"""Judges the figures in status again where only gates or objective changed. Pure."""

from __future__ import annotations

from mopt_api.enums import Aggregate, ObjectiveMetric
from mopt_api.figures import QualityReference, converted
from mopt_api.jobs.gates import judged_value
from mopt_api.jobs.measure_result import BASELINE, PointResult, VariantResult
from mopt_api.jobs.plan import objective_point
from mopt_api.jobs.rounding import rounded
from mopt_api.jobs.selection import select, unjudged
from mopt_api.jobs.termination import summarized_verdict
from mopt_api.jobs.winner import compared_figure
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import Measurement, TargetStatus, VariantStatus
from mopt_api.verdict import Compared, Verdict


def measured_ranges(spec: ModelOptimizationSpec) -> dict[str, float]:
    """Return the quality metrics that a measurement computes, each with its dataRange."""
    return {gate.figure: gate.data_range for gate in spec.quality}


def measures_all(measurement: Measurement, spec: ModelOptimizationSpec) -> bool:
    """Tell whether every gate's metric was computed, over the same range."""
    known = measurement.data_ranges
    return all(known.get(gate.figure) == gate.data_range for gate in spec.quality)


def shows_all(target: TargetStatus, spec: ModelOptimizationSpec) -> bool:
    """Tell whether status holds every figure that the spec's gates and objective judge."""
    parts = (_shows_point, _shows_load, _shows_tolerances, _shows_intervals)
    return all(shows(target, spec) for shows in parts)


def _shows_point(target: TargetStatus, spec: ModelOptimizationSpec) -> bool:
    """Tell whether status holds the figures of the objective's benchmark point.

    A target that only builds has no such figures, and lacks none.
    """
    return target.baseline is None or target.point == objective_point(
        spec.objective, spec.benchmark
    )


def _shows_load(target: TargetStatus, spec: ModelOptimizationSpec) -> bool:
    """Tell whether status holds all figures under load that gates and objective are judged by.

    A termination message without room for them has those of the selected form alone.
    """
    if spec.benchmark.load is None:
        return True
    return all(form.load is not None for form in target.everyone if form.latency_ms is not None)


def _shows_tolerances(target: TargetStatus, spec: ModelOptimizationSpec) -> bool:
    """Tell whether status holds what gates of aggregate Tolerance judge.

    It does where the measurement was asked for it; result.json always does.
    """
    gates = [gate for gate in spec.quality if gate.aggregate is Aggregate.TOLERANCE]
    compared = [form.quality for form in target.everyone if form.quality]
    return all(judged_value(gate, quality) is not None for gate in gates for quality in compared)


def _shows_intervals(target: TargetStatus, spec: ModelOptimizationSpec) -> bool:
    """Tell whether status holds the intervals that the objective's metric is judged by.

    It lacks none where there are none: of an exact figure, of figures under load, and of an older
    version's measurement.
    """
    wanted = compared_figure(spec.objective.metric, under_load=spec.benchmark.load is not None)
    if target.verdict is None or wanted is None:
        return True
    return _figure_of(target.verdict) == wanted


def _figure_of(verdict: Verdict) -> ObjectiveMetric | None:
    """Return the figure whose intervals a verdict came with; None of one without, or unknown."""
    known = next((metric for metric in ObjectiveMetric if metric == verdict.metric), None)
    return known and compared_figure(known, under_load=False)


def _result(variant: VariantStatus, target: TargetStatus) -> VariantResult:
    points, point, verdict = [], target.point, target.verdict
    if variant.latency_ms is not None and point is not None:
        points.append(
            PointResult(
                point=point,
                latency_ms=variant.latency_ms,
                throughput=variant.throughput or 0.0,
                runs=variant.runs or 1,
                rounds=verdict.rounds if verdict and verdict.winner == variant.name else None,
                compared=_compared(variant, verdict),
                coefficient_of_variation=0.0,
            )
        )
    return converted(variant, VariantResult, points=points)


def _compared(variant: VariantStatus, verdict: Verdict | None) -> list[Compared]:
    """Return how a variant compares with the baseline; nothing where status has no interval of it,
    or of another metric only: such a verdict is undecided."""
    if verdict is None or variant.speedup is None or variant.speedup_interval is None:
        return []
    figure = _figure_of(verdict)
    if figure is None:
        return []
    return [
        Compared(
            than=BASELINE,
            metric=figure,
            ratio=variant.speedup,
            interval=variant.speedup_interval,
        )
    ]


def _judged(before: VariantStatus, after: VariantResult) -> VariantStatus:
    return before.model_copy(
        update={
            "state": after.state.value,
            "reason": after.reason and after.reason.value,
            "message": after.message,
            "speedup": rounded(after.speedup),
            "speedup_interval": _rounded_bounds(after.speedup_interval),
            "speedup_over_fastest_fp32": rounded(after.speedup_over_fastest_fp32),
        }
    )


def _rounded_bounds(bounds: list[float] | None) -> list[float] | None:
    return bounds and [rounded(bound) or 0.0 for bound in bounds]


def rejudged(
    target: TargetStatus, spec: ModelOptimizationSpec, judging: str
) -> TargetStatus | None:
    """Return a target's verdict by other gates or another objective.

    The figures in status have four significant digits; so has a speedup that is compared with
    minimumSpeedup here. What was judged by the same gates and objective stays as it is. Status has
    each variant's interval over the baseline alone: two variants are told apart where theirs are
    disjoint, so some that were decided in the Job are undecided here.

    Args:
        judging: Key of the spec's gates and objective.

    Returns:
        None where status cannot be read by this version.
    """
    measurement = target.measurement or Measurement(key="")
    if measurement.judged == judging:
        return target
    try:
        built = target.baseline is None
        baseline = unjudged(_result(target.baseline, target)) if target.baseline else None
        variants = [unjudged(_result(v, target), built=built) for v in target.variants]
        reference = None if target.reference is None else QualityReference(target.reference)
    except ValueError:
        # A runtime, reason or reference of a newer version: the figures are measured again.
        return None
    selection = select(
        baseline,
        variants,
        gates=spec.quality,
        objective=spec.objective,
        benchmark=spec.benchmark,
        reference=reference,
    )
    return target.model_copy(
        update={
            "baseline": target.baseline
            and selection.baseline
            and _judged(target.baseline, selection.baseline),
            "variants": [
                _judged(before, after)
                for before, after in zip(target.variants, selection.variants, strict=True)
            ],
            "selected": selection.selected,
            # Of an older version's figures no certainty was ever told.
            "verdict": target.verdict and summarized_verdict(selection.verdict),
            "measurement": measurement.model_copy(update={"judged": judging}),
        }
    )
