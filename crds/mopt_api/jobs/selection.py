"""Gates and objective: which variant wins. Pure functions over measured results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.base import MAX_RATIO
from mopt_api.benchmark import Benchmark
from mopt_api.constraints import Figures, misses
from mopt_api.contest import Interval
from mopt_api.enums import ObjectiveMetric, Precision
from mopt_api.figures import QualityReference, VariantReason, VariantState
from mopt_api.objective import Objective
from mopt_api.reasons import MAX_MESSAGE
from mopt_api.spec import QualityGate
from mopt_api.verdict import Verdict

from .gates import gate_failure
from .measure_result import QUALITY_OF_ENGINE, VariantResult
from .plan import objective_point
from .winner import Evidence, decide_winner


@dataclass(frozen=True)
class Selection:
    """The verdict on one target.

    Attributes:
        selected: Name of the winner; "baseline" where the baseline is kept; None where
            no variant won and objective.onNoWinner is Fail or the baseline is Rejected itself,
            and where engines were only built.
        baseline: The baseline with its speedups filled in; Rejected where it is gated and fails,
            or misses a constraint; None where there is none.
        variants: The variants with state, reason and speedups filled in, in their order.
        verdict: How sure the selection is; None where there is no baseline.
    """

    selected: str | None
    baseline: VariantResult | None
    variants: list[VariantResult]
    verdict: Verdict | None = None


def figures_of(variant: VariantResult, point: str | None) -> Figures:
    """Return a variant's figures at a benchmark point."""
    at_point, artifact = variant.at(point), variant.artifact
    return Figures(
        latency_ms=at_point.latency_ms if at_point else None,
        throughput=at_point.throughput if at_point else None,
        size_bytes=artifact.size_bytes if artifact else None,
        peak_memory_bytes=variant.peak_memory_bytes,
        load=variant.load,
    )


def objective_cost(
    variant: VariantResult, metric: ObjectiveMetric, point: str, *, under_load: bool = False
) -> float | None:
    """Return a positive figure that is smaller for a better variant, or None; see Figures.cost."""
    return figures_of(variant, point).cost(metric, under_load=under_load)


def _ratio(reference: float | None, cost: float | None) -> float | None:
    return min(reference / cost, MAX_RATIO) if reference is not None and cost else None


def _judged(variant: VariantResult, gates: Sequence[QualityGate]) -> VariantResult:
    """Return a variant as the gates judge it."""
    if variant.state not in (VariantState.PASSED, VariantState.BUILT):
        return variant
    if variant.state is VariantState.BUILT and not variant.quality:
        # Nothing here can compute its outputs: its message says that it was not judged.
        return variant
    failures = [failure for gate in gates if (failure := gate_failure(gate, variant.quality))]
    return _rejected(variant, VariantReason.QUALITY_GATE, failures)


def _rejected(
    variant: VariantResult, reason: VariantReason, failures: Sequence[str]
) -> VariantResult:
    """Return a variant that is Rejected for these failures; unchanged where there are none."""
    if not failures:
        return variant
    message = "; ".join(failures)[:MAX_MESSAGE]
    changed = {"state": VariantState.REJECTED, "reason": reason, "message": message}
    return variant.model_copy(update=changed)


@dataclass(frozen=True)
class _Bounds:
    """The constraints of an objective, and where they hold."""

    objective: Objective
    point: str
    under_load: bool

    def judged(self, variant: VariantResult) -> VariantResult:
        """Return a variant that passed the gates as the constraints judge it.

        Latency, memory and size are no matter of quality: what misses a gate is said to miss
        that, whatever else it misses.
        """
        if variant.state is not VariantState.PASSED:
            return variant
        figures = figures_of(variant, self.point)
        missed = misses(figures, self.objective.constraints, under_load=self.under_load)
        failures = [str(miss) for miss in missed]
        searched = variant.load_search
        if failures and self.under_load and variant.load is None and searched is not None:
            failures += [searched.message] if searched.message else []
        return _rejected(variant, VariantReason.CONSTRAINT, failures)


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

    A winner passed every gate, keeps every constraint and is better than the baseline by at least
    minimumSpeedup; the best of several, see jobs.winner. A variant that is only as good as the
    baseline, or may be no better, does not replace it. The baseline is held to the constraints
    too, and with ground truth to the gates: where it fails it is not kept.
    A constraint on CostPerMillion is about a target, not about its variants, of which the fastest
    costs least: see recommendation.
    What was only built never wins; without a baseline nothing does.

    Args:
        baseline: The source model, measured; in state Passed. None where nothing was measured.
        variants: Measured, built, skipped or failed variants. A measured one comes in state Passed.
        reference: What the quality figures compare with.
    """
    if baseline is None:
        return Selection(None, None, [_judged(variant, gates) for variant in variants])
    point = objective_point(objective, benchmark)
    bounds = _Bounds(objective, point, under_load=benchmark.load is not None)
    costs = _Costs.of(baseline, variants, bounds)
    kept = costs.with_speedups(baseline)
    if reference is QualityReference.GROUND_TRUTH:
        kept = _judged(kept, gates)
    kept = bounds.judged(kept)
    judged = [bounds.judged(_judged(costs.with_speedups(v), gates)) for v in variants]
    passed = [v for v in judged if v.state is VariantState.PASSED]
    evidence = Evidence(
        {v.name: v for v in (kept, *judged)}, objective.metric, point, under_load=bounds.under_load
    )
    won = decide_winner(kept, passed, evidence, objective=objective, gates=gates)
    return Selection(won.selected, kept, judged, won.verdict)


@dataclass(frozen=True)
class _Costs:
    """The cost of each variant by the objective, see objective_cost, and of its references.

    Attributes:
        over_baseline: How many times better than the baseline a variant is by the rounds that both
            were in, where that is known: others leave sooner, so figures of all calls are not of
            the same time.
    """

    of_each: dict[str, float | None]
    over_baseline: dict[str, Interval]
    baseline: float | None
    fastest_fp32: float | None

    @classmethod
    def of(
        cls,
        baseline: VariantResult,
        variants: Sequence[VariantResult],
        bounds: _Bounds,
    ) -> _Costs:
        everyone = [baseline, *variants]
        metric, under_load = bounds.objective.metric, bounds.under_load
        evidence = Evidence({v.name: v for v in everyone}, metric, bounds.point, under_load)
        costs = {
            v.name: objective_cost(v, metric, bounds.point, under_load=under_load) for v in everyone
        }
        whole = costs[baseline.name]
        over = {v.name: found for v in variants if (found := evidence.over_baseline(v.name))}
        if whole is not None:
            costs |= {name: whole / found.ratio for name, found in over.items()}
        fp32 = (costs[v.name] for v in everyone if v.precision is Precision.FP32)
        fastest = min((cost for cost in fp32 if cost is not None), default=None)
        return cls(costs, over, whole, fastest)

    def with_speedups(self, variant: VariantResult) -> VariantResult:
        cost, over = self.of_each[variant.name], self.over_baseline.get(variant.name)
        return variant.model_copy(
            update={
                "speedup": _ratio(self.baseline, cost),
                "speedup_interval": over and [over.low, min(over.high, MAX_RATIO)],
                "speedup_over_fastest_fp32": _ratio(self.fastest_fp32, cost),
            }
        )
