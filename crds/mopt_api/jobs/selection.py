"""Gates and objective: which variant wins. Pure functions over measured results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.base import MAX_RATIO
from mopt_api.enums import Aggregate, ObjectiveMetric, OnNoWinner, Precision
from mopt_api.figures import QualityReference, QualityResult, VariantReason, VariantState
from mopt_api.metrics import value_as_bound
from mopt_api.spec import Benchmark, Objective, QualityGate

from .measure_result import BASELINE, QUALITY_OF_ENGINE, VariantResult
from .plan import objective_point


@dataclass(frozen=True)
class Selection:
    """The verdict on one target.

    Attributes:
        selected: Name of the winner; "baseline" where the baseline is kept; None where
            no variant won and objective.onNoWinner is Fail or the baseline is Rejected itself,
            and where engines were only built.
        baseline: The baseline with its speedups filled in; Rejected where it is gated and fails;
            None where there is none.
        variants: The variants with state, reason and speedups filled in, in their order.
    """

    selected: str | None
    baseline: VariantResult | None
    variants: list[VariantResult]


def judged_value(gate: QualityGate, quality: Sequence[QualityResult]) -> float | None:
    """Return the value that a gate judges, or None where it was not computed."""
    found = judged_result(gate, quality)
    if found is None:
        return None
    return found.worst if gate.aggregate is Aggregate.WORST else found.mean


def judged_result(gate: QualityGate, quality: Sequence[QualityResult]) -> QualityResult | None:
    """Return what a gate judges, or None where it was not computed."""
    return next((q for q in quality if q.metric is gate.metric and q.is_of(*gate.part)), None)


def gate_failure(gate: QualityGate, quality: Sequence[QualityResult]) -> str | None:
    """Return why a variant's quality fails a gate, or None where it passes.

    A metric that was not computed, or is NaN, fails.
    """
    value, found = judged_value(gate, quality), judged_result(gate, quality)
    if value is None or found is None:
        return f"{gate_name(gate)} was not measured"
    if gate.passes(value):
        return None
    limit = gate.minimum if gate.maximum is None else gate.maximum
    bound = f"{'below' if gate.maximum is None else 'above'} {limit:.10g}"
    shown = value_as_bound(gate.metric, value, bound=limit)
    where = f" in {found.part}" if found.part else ""
    return f"{gate.aggregate.lower()} {gate_name(gate)} {shown}{where} is {bound}"


def figure_name(quality: QualityResult) -> str:
    """Return the metric of a result and what it is of, for people: Cosine of scores."""
    return " of ".join(filter(None, (quality.metric, quality.slice, quality.output)))


def gate_name(gate: QualityGate) -> str:
    """Return a gate's metric and what it judges, for people: Cosine of scores."""
    return " of ".join([gate.metric, *(part for part in reversed(gate.part) if part)])


def objective_cost(variant: VariantResult, metric: ObjectiveMetric, point: str) -> float | None:
    """Return a positive figure that is smaller for a better variant, or None if not measured.

    Its unit is the metric's (milliseconds, bytes, or seconds per sample for Throughput).
    """
    if metric is ObjectiveMetric.SIZE_BYTES:
        return float(variant.artifact.size_bytes) or None if variant.artifact else None
    if metric is ObjectiveMetric.PEAK_MEMORY:
        return float(variant.peak_memory_bytes) if variant.peak_memory_bytes else None
    at_point = variant.at(point)
    if at_point is None:
        return None
    if metric is ObjectiveMetric.THROUGHPUT:
        return 1.0 / at_point.throughput if at_point.throughput > 0 else None
    latency = at_point.latency_ms
    return latency.p50 if metric is ObjectiveMetric.LATENCY_P50 else latency.p99


def _ratio(reference: float | None, cost: float | None) -> float | None:
    return min(reference / cost, MAX_RATIO) if reference is not None and cost else None


def _judged(variant: VariantResult, gates: Sequence[QualityGate]) -> VariantResult:
    if variant.state not in (VariantState.PASSED, VariantState.BUILT):
        return variant
    if variant.state is VariantState.BUILT and not variant.quality:
        # Nothing here can compute its outputs: its message says that it was not judged.
        return variant
    failures = [failure for gate in gates if (failure := gate_failure(gate, variant.quality))]
    if not failures:
        return variant
    return variant.model_copy(
        update={
            "state": VariantState.REJECTED,
            "reason": VariantReason.QUALITY_GATE,
            "message": "; ".join(failures),
        }
    )


def unjudged(variant: VariantResult, *, built: bool = False) -> VariantResult:
    """Return a variant as it was measured, before any gate.

    Args:
        built: It is an engine that was only built: the target has no baseline.
    """
    if variant.state is not VariantState.REJECTED:
        return variant
    if variant.reason in (VariantReason.CONSTANT_CHANNEL, VariantReason.OTHER_FUNCTION):
        return variant  # Whatever the gates.
    state, message = VariantState.PASSED, None
    if built:
        state, message = VariantState.BUILT, QUALITY_OF_ENGINE
    return variant.model_copy(update={"state": state, "reason": None, "message": message})


def select(
    baseline: VariantResult | None,
    variants: Sequence[VariantResult],
    *,
    gates: Sequence[QualityGate],
    objective: Objective,
    benchmark: Benchmark,
    reference: QualityReference | None = None,
) -> Selection:
    """Judge the variants and pick the winner.

    A winner passed every gate and is better than the baseline by at least minimumSpeedup; the
    best of several, and the first of equally good ones. A variant that is only as good as the
    baseline does not replace it. With ground truth the baseline is gated too: where it fails it is
    not kept.
    What was only built never wins; without a baseline nothing does.

    Args:
        baseline: The source model, measured; in state Passed. None where nothing was measured.
        variants: Measured, built, skipped or failed variants. A measured one comes in state Passed.
        reference: What the quality figures compare with.
    """
    if baseline is None:
        return Selection(None, None, [_judged(variant, gates) for variant in variants])
    costs = _Costs.of(baseline, variants, objective, objective_point(objective, benchmark))
    kept = costs.with_speedups(baseline)
    if reference is QualityReference.GROUND_TRUTH:
        kept = _judged(kept, gates)
    judged = [_judged(costs.with_speedups(v), gates) for v in variants]
    selected = _fastest(judged, objective)
    keeps = objective.on_no_winner is OnNoWinner.KEEP_BASELINE
    if selected is None and keeps and kept.state is VariantState.PASSED:
        selected = BASELINE
    return Selection(selected=selected, baseline=kept, variants=judged)


def _fastest(judged: Sequence[VariantResult], objective: Objective) -> str | None:
    """Return the best variant that passed and is better by enough; None where there is none."""
    contenders = [
        (v.speedup, v.name)
        for v in judged
        if v.state is VariantState.PASSED
        and v.speedup is not None
        and v.speedup >= objective.minimum_speedup
        and v.speedup > 1.0
    ]
    return max(contenders, key=lambda pair: pair[0])[1] if contenders else None


@dataclass(frozen=True)
class _Costs:
    """The cost of each variant by the objective, see objective_cost, and of its references."""

    of_each: dict[str, float | None]
    baseline: float | None
    fastest_fp32: float | None

    @classmethod
    def of(
        cls,
        baseline: VariantResult,
        variants: Sequence[VariantResult],
        objective: Objective,
        point: str,
    ) -> _Costs:
        everyone = [baseline, *variants]
        costs = {v.name: objective_cost(v, objective.metric, point) for v in everyone}
        fp32 = (costs[v.name] for v in everyone if v.precision is Precision.FP32)
        fastest = min((cost for cost in fp32 if cost is not None), default=None)
        return cls(costs, costs[baseline.name], fastest)

    def with_speedups(self, variant: VariantResult) -> VariantResult:
        cost = self.of_each[variant.name]
        return variant.model_copy(
            update={
                "speedup": _ratio(self.baseline, cost),
                "speedup_over_fastest_fp32": _ratio(self.fastest_fp32, cost),
            }
        )
