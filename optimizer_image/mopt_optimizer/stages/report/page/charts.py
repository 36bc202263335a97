"""Which charts a result has. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.spec import QualityGate

from . import curves, figures, rows, scatters


@dataclass(frozen=True)
class Charts:
    """Everything drawn; what was not measured is empty.

    Attributes:
        scatters: A wide and a narrow chart per gate; without gates, of the first metric.
    """

    load: curves.Curves | None
    scatters: list[tuple[scatters.Scatter, scatters.Scatter]]
    qualities: list[rows.Strips]
    latencies: list[rows.Strips]
    sizes: list[rows.Bar]
    memory: list[rows.Bar]

    @classmethod
    def of(cls, result: MeasureResult, plan: MeasurePlan | ReportPlan) -> Charts:
        everyone = result.everyone
        files = [(v.name, v.artifact.size_bytes) for v in everyone if v.artifact]
        memory = [(v.name, v.peak_memory_bytes) for v in everyone if v.peak_memory_bytes]
        points = result.baseline.points if result.baseline else []
        latencies = [rows.latency_strips(result, point.point) for point in points]
        return cls(
            load=curves.load_curves(result, plan.objective),
            scatters=_scatters(result, plan),
            qualities=_qualities(result, plan),
            latencies=[strips for strips in latencies if strips is not None],
            sizes=rows.bars(files, lambda value: figures.size(int(value)), result.selected),
            memory=rows.bars(memory, lambda value: figures.size(int(value)), result.selected),
        )


def _metrics(result: MeasureResult) -> list[QualityMetric]:
    return list(dict.fromkeys(q.metric for v in result.everyone for q in v.quality))


def _scatters(
    result: MeasureResult, plan: MeasurePlan | ReportPlan
) -> list[tuple[scatters.Scatter, scatters.Scatter]]:
    # Without gates, one in form only: it is not drawn.
    judged = plan.quality or [
        QualityGate.model_construct(metric=metric, aggregate=Aggregate.WORST)
        for metric in _metrics(result)[:1]
    ]
    found = []
    for gate in judged:
        wide, narrow = (
            scatters.scatter(result, gate, plan.quality, objective=plan.objective, wide=wide)
            for wide in (True, False)
        )
        if wide is not None and narrow is not None:
            found.append((wide, narrow))
    return found


def _qualities(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> list[rows.Strips]:
    gates = {gate.metric: gate for gate in plan.quality if gate.aggregate is Aggregate.WORST}
    found = (rows.quality_strips(result, metric, gates.get(metric)) for metric in _metrics(result))
    return [strips for strips in found if strips is not None]


@dataclass(frozen=True)
class Times:
    """Where the time went."""

    prepare: list[rows.Bar]
    measure: list[rows.Bar]
    variants: list[rows.Bar]

    @classmethod
    def of(cls, result: MeasureResult, manifest: PrepareResult | None) -> Times:
        variants = [(v.name, v.seconds) for v in result.everyone if v.seconds is not None]
        return cls(
            prepare=_longest_first(manifest.seconds if manifest else {}),
            measure=_longest_first(result.seconds),
            variants=rows.bars(variants, figures.seconds, result.selected),
        )


def _longest_first(seconds: Mapping[str, float]) -> list[rows.Bar]:
    return rows.bars(sorted(seconds.items(), key=lambda item: -item[1]), figures.seconds)
