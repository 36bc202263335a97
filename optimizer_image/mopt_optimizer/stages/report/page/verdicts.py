"""The verdict and its reasons as text. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mopt_api.constraints import keeps, value_text
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import AIMED_IN_WORDS, QualityReference, VariantReason, VariantState
from mopt_api.jobs.gates import gate_name, judged_result, judged_value, may_miss
from mopt_api.jobs.measure_result import (
    BASELINE,
    QUALITY_OF_ENGINE,
    MeasureResult,
    VariantResult,
)
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.jobs.selection import figures_of
from mopt_api.metrics import bound_in_words, metric_in_words
from mopt_api.objective import Objective
from mopt_api.runtimes import runtime_title
from mopt_api.spec import QualityGate
from mopt_api.verdict import TIE, verdict_in_words

from . import figures

OBJECTIVES = {
    ObjectiveMetric.LATENCY_P50: "median latency",
    ObjectiveMetric.LATENCY_P90: "90th-percentile latency",
    ObjectiveMetric.LATENCY_P99: "99th-percentile latency",
    ObjectiveMetric.THROUGHPUT: "throughput",
    ObjectiveMetric.SIZE_BYTES: "file size",
    ObjectiveMetric.PEAK_MEMORY: "peak memory",
    ObjectiveMetric.COST_PER_MILLION: "cost per million samples",
}
REASONS = {
    VariantReason.QUALITY_GATE: "misses a quality gate",
    VariantReason.NO_CALIBRATION_DATA: "needs calibration data, but there is none",
    VariantReason.NO_NATIVE_BF16: "this hardware does not compute in BF16",
    VariantReason.NO_COMPILER: "needs a C++ compiler, but there is none",
    VariantReason.NO_ACCELERATOR: "this target does not have the hardware that it needs",
    VariantReason.NO_NATIVE_FP8: "this GPU does not compute in FP8",
    VariantReason.SATURATES: "would saturate on this CPU, and no form for it was made",
    VariantReason.TOO_SLOW: "too slow to win, as a few calls showed",
    VariantReason.BUILD_FAILED: "could not be built or opened",
    VariantReason.CRASHED: "its process ended unexpectedly",
    VariantReason.TIMED_OUT: "took too long",
    VariantReason.OUT_OF_MEMORY: "needs more memory than is available",
    VariantReason.NON_FINITE_OUTPUT: "is not finite where FP32 is, or the reverse",
    VariantReason.CONSTANT_CHANNEL: "lost what an output holds",
    VariantReason.OTHER_FUNCTION: "computes something else",
    VariantReason.CONSTRAINT: "misses a constraint",
}


@dataclass(frozen=True)
class Verdict:
    """The first section of the page.

    Attributes:
        selected: The winner, or the baseline where it is kept; None where nothing is selected.
        headline: The verdict in brief.
        sentences: The reasons and other notes.
    """

    selected: VariantResult | None
    headline: str
    sentences: list[str]


@dataclass(frozen=True)
class GateValue:
    """A variant's value for a gate; passed is None where it was not compared."""

    text: str
    passed: bool | None


def form(variant: VariantResult) -> str:
    """Return a variant's runtime and precision."""
    rest = f" and {variant.float_precision}" if variant.float_precision else ""
    return f"{runtime_title(variant.runtime)} {variant.precision}{rest}"


def layers(variant: VariantResult) -> str:
    """Return what an engine's layers read; empty where it is no engine."""
    counts = variant.layer_datatypes or {}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def reference(result: MeasureResult) -> str:
    """Return what outputs are compared with for quality."""
    if result.reference is QualityReference.GROUND_TRUTH:
        return "ground truth"
    return "the FP32 output of the baseline"


def was_measured(variant: VariantResult) -> bool:
    """Return whether figures of it are known; of what was built those of quality."""
    return variant.state in (VariantState.PASSED, VariantState.REJECTED, VariantState.BUILT)


def shown_state(variant: VariantResult, selected: str | None) -> str:
    """Return a variant's state, Selected where it won."""
    return "Selected" if variant.name == selected else variant.state.value


def gate_text(gate: QualityGate) -> str:
    """Return a gate as text."""
    sign = "≥" if gate.maximum is None else "≤"
    bound = bound_in_words(gate.metric, gate_bound(gate))
    return f"{gate.aggregate.lower()} {gate_name(gate)} {sign} {bound}"


def gate_bound(gate: QualityGate) -> float:
    """Return the smallest, of MaxAbsError the largest, value that passes."""
    return gate.maximum if gate.maximum is not None else gate.minimum or 0.0


def gate_value(gate: QualityGate, variant: VariantResult) -> GateValue:
    """Return a variant's value for a gate."""
    value, found = judged_value(gate, variant.quality), judged_result(gate, variant.quality)
    if value is None or found is None:
        return GateValue(figures.NOT_MEASURED, None)
    shown = metric_in_words(gate.metric, value, exact=found.exact)
    where = f" (worst in {found.part})" if found.part else ""
    return GateValue(f"{shown}{where}", gate.passes(value))


def bounded_values(
    variant: VariantResult, result: MeasureResult, plan: MeasurePlan | ReportPlan
) -> list[GateValue]:
    """Return a variant's value for each constraint; passed is None where a price decides."""
    shown = figures_of(variant, result.objective_point)
    found = []
    for each in plan.objective.constraints:
        if each.metric is ObjectiveMetric.COST_PER_MILLION:
            found.append(GateValue("judged across targets", None))
            continue
        value = shown.bounded(each.metric, under_load=plan.benchmark.load is not None)
        text = figures.NOT_MEASURED if value is None else value_text(each.metric, value)
        found.append(GateValue(text, value is not None and keeps(each, value)))
    return found


def why(variant: VariantResult, result: MeasureResult, objective: Objective) -> str:
    """Return why a variant is selected, or why it is not, and what to know of its quality."""
    text = _why(variant, result, objective)
    return f"{text}; {AIMED_IN_WORDS}" if variant.aimed_by else text


def _why(variant: VariantResult, result: MeasureResult, objective: Objective) -> str:
    if variant.name == result.selected:
        return f"selected: the best that passes every gate{_within(objective)}"
    if variant.name == BASELINE and variant.state is VariantState.PASSED:
        return "the source model; every variant is measured against it"
    if variant.state is not VariantState.PASSED:
        reason = REASONS.get(variant.reason, str(variant.reason)) if variant.reason else ""
        return ": ".join(part for part in (reason, variant.message) if part)
    measure = OBJECTIVES[objective.metric]
    if variant.speedup is None:
        return f"its {measure} was not measured"
    told = result.verdict
    if told is not None and variant.name in told.ties:
        return f"passes; as good as {told.winner} within {TIE:.0%}, which comes first in a tie"
    if told is not None and variant.name in told.undecided:
        return f"passes; whether it is better than {told.winner} is undecided"
    if variant.speedup <= 1:
        return f"passes, but is not better than the baseline in {measure}"
    if variant.speedup < objective.minimum_speedup:
        return f"passes, but is below the minimum speedup of {objective.minimum_speedup:g}x"
    winner = next((v for v in result.variants if v.name == result.selected), None)
    if winner is None:
        return "passes"
    if winner.speedup == variant.speedup:
        return f"passes; equal to {winner.name}, which comes first"
    return f"passes; {winner.name} is better, {figures.ratio(winner.speedup)} in {measure}"


def _within(objective: Objective) -> str:
    return " and keeps every constraint" if objective.constraints else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def verdict(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> Verdict:
    """Return the verdict on a target."""
    decided = _decided(result, plan)
    if result.baseline is None:
        return decided
    if result.verdict is not None:
        told = verdict_in_words(result.verdict)
        how = "Certainty" if result.verdict.certain else "Not certain"
        decided = replace(decided, sentences=[*decided.sentences, f"{how}: {told}."])
        if not result.verdict.certain:
            decided = replace(decided, headline=f"{decided.headline}, undecided")
    speed = result.baseline.at(result.objective_point)
    if speed is None or not speed.unstable:
        return decided
    warning = f"Unstable: the measurement was disturbed ({speed.message})."
    return replace(decided, sentences=[*decided.sentences, warning])


def _decided(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> Verdict:
    baseline = result.baseline
    if baseline is None:
        return _built(result, plan)
    chosen = next((v for v in result.everyone if v.name == result.selected), None)
    needed = (
        f"no variant passes every gate{_within(plan.objective)} and is better than the baseline in "
        f"{OBJECTIVES[plan.objective.metric]}"
        + (f" by {plan.objective.minimum_speedup:g}x" if plan.objective.minimum_speedup > 1 else "")
    )
    if chosen is None:
        missed = baseline.message
        return Verdict(
            None,
            "Nothing is selected",
            [
                _sentence(needed),
                *(
                    [_sentence(f"the baseline cannot be selected either: {missed}")]
                    if missed
                    else []
                ),
                *_faster(result),
            ],
        )
    if chosen.name == BASELINE:
        return Verdict(chosen, "The baseline is kept", [_sentence(needed), *_faster(result)])
    sentences = [
        f"{figures.ratio(chosen.speedup, chosen.speedup_interval)} over the baseline "
        f"({form(baseline)}) in "
        f"{OBJECTIVES[plan.objective.metric]} at point {result.objective_point}."
    ]
    if chosen.speedup_over_fastest_fp32 is not None:
        sentences.append(
            f"{figures.ratio(chosen.speedup_over_fastest_fp32)} over the fastest FP32 runtime."
        )
    holds = [_holds(gate, chosen) for gate in plan.quality]
    if holds:
        sentences.append(_sentence("; ".join(holds)))
    else:
        sentences.append("No quality gate was set.")
    if chosen.aimed_by:
        sentences.append(_sentence(f"of {chosen.name}, {AIMED_IN_WORDS}"))
    return Verdict(chosen, f"{chosen.name} is selected", sentences + _faster(result, chosen))


def _holds(gate: QualityGate, chosen: VariantResult) -> str:
    held = f"{gate_text(gate)} holds with {gate_value(gate, chosen).text}"
    if (share := may_miss(gate, chosen.quality)) is None:
        return held
    return f"{held}, and at most {100 * share:.2g} % of new samples miss it (95 % confidence)"


def _built(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> Verdict:
    """Return the verdict on engines that are only built."""
    engines = [v for v in result.variants if v.state is VariantState.BUILT]
    planned = MeasurePlan.model_validate(result.plan) if result.plan else None
    targets = ", ".join(planned.compute_capabilities) if planned else "the requested GPUs"
    sentences = [f"For compute capability {targets}: built without the GPU, never run."]
    if result.reference is not None:
        sentences.append(_sentence(QUALITY_OF_ENGINE))
    for gate in plan.quality:
        holds = [f"{v.name} {value.text}" for v in engines if (value := gate_value(gate, v)).passed]
        if holds:
            sentences.append(_sentence(f"{gate_text(gate)} holds: {', '.join(holds)}"))
    if not engines:
        return Verdict(None, "No engine was built", sentences)
    count = "1 engine is" if len(engines) == 1 else f"{len(engines)} engines are"
    return Verdict(None, f"{count} built", sentences)


def _faster(result: MeasureResult, chosen: VariantResult | None = None) -> list[str]:
    """Return a sentence on each rejected variant that is better than what was chosen."""
    bar = (chosen.speedup if chosen else None) or 1.0
    return [
        f"{variant.name} would be {figures.ratio(variant.speedup)}, but {variant.message}."
        for variant in result.variants
        if variant.state is VariantState.REJECTED and (variant.speedup or 0) > bar
    ]
