"""What changed from one result to another: `mopt diff`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from pydantic import Field, TypeAdapter, ValidationError

from mopt_api.base import ObservedModel
from mopt_api.enums import ObjectiveMetric
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.winner import EXACT
from mopt_api.spec import QualityGate

from .judgements import NOT_MEASURED, Judged, gate_text, judge_gate
from .objective_words import objective_of
from .plan_diff import changed_settings

_GATES = TypeAdapter(list[QualityGate])


class Outcome(StrEnum):
    """How a speedup stands to an earlier one."""

    SAME = "Same"
    BETTER = "Better"
    WORSE = "Worse"
    NOT_TOLD_APART = "NotToldApart"
    """Their intervals overlap."""
    UNKNOWN = "Unknown"


class Change(ObservedModel):
    """Something that is one thing in the first result and another in the second."""

    what: str
    before: str | None = None
    after: str | None = None


class SpeedupChange(ObservedModel):
    """Ratios to the baseline of the same result."""

    before: float | None = None
    before_interval: list[float] | None = None
    after: float | None = None
    after_interval: list[float] | None = None
    outcome: Outcome


class GateChange(ObservedModel):
    """What a gate judges; passed is absent where that result has no such gate, or no value."""

    gate: str
    before: str
    before_passed: bool | None = None
    after: str
    after_passed: bool | None = None


class FormDiff(ObservedModel):
    """One form in both results; a state is absent where it is not in that one."""

    name: str
    before_state: str | None = None
    after_state: str | None = None
    after_reason: str | None = None
    speedup: SpeedupChange
    gates: list[GateChange] = Field(default=[])
    before_bytes: int | None = None
    after_bytes: int | None = None
    before_p50_ms: float | None = None
    after_p50_ms: float | None = None
    before_peak_memory_bytes: int | None = None
    after_peak_memory_bytes: int | None = None

    @property
    def differs(self) -> bool:
        """Whether its state, a gate's verdict, its size, or its speedup for certain is another."""
        told = self.speedup.outcome in (Outcome.BETTER, Outcome.WORSE)
        judged = any(gate.before_passed != gate.after_passed for gate in self.gates)
        resized = self.before_bytes != self.after_bytes
        return told or judged or resized or self.before_state != self.after_state


class ResultDiff(ObservedModel):
    """What changed from one result to another.

    Attributes:
        winner: Before and after, also where it is the same.
        facts: What else differs: model, data, gates, objective, hardware, versions.
        settings: Other fields of spec that differ, called as there.
    """

    winner: Change
    facts: list[Change]
    settings: list[Change] = Field(default=[])
    forms: list[FormDiff]

    @property
    def differs(self) -> bool:
        """Whether the winner or a form differs; other facts alone do not count."""
        return self.winner.before != self.winner.after or any(form.differs for form in self.forms)


def diff(before: MeasureResult, after: MeasureResult) -> ResultDiff:
    """Return what changed, form by form; those of the first result come first."""
    pairs = _paired_gates(gates_of(before), gates_of(after))
    metrics = (objective_of(before), objective_of(after))
    metric = metrics[1] if metrics[0] == metrics[1] else None
    old = {form.name: form for form in before.everyone}
    new = {form.name: form for form in after.everyone}
    return ResultDiff(
        winner=Change(what="winner", before=before.selected, after=after.selected),
        facts=list(_facts(before, after)),
        settings=[
            Change(what=what, before=one, after=other)
            for what, one, other in changed_settings(before.plan, after.plan)
        ],
        forms=[
            _form_diff(
                name,
                old.get(name),
                new.get(name),
                pairs,
                metric,
                points=(before.objective_point, after.objective_point),
            )
            for name in dict.fromkeys([*old, *new])
        ],
    )


def outcome(
    before: VariantResult | None, after: VariantResult | None, metric: ObjectiveMetric | None
) -> Outcome:
    """Return how a form's speedup stands to that of an earlier result.

    Args:
        metric: Of both objectives; None where they differ, or are not known.
    """
    if before is None or after is None or metric is None:
        return Outcome.UNKNOWN
    old, new = before.speedup, after.speedup
    if old is None or new is None:
        return Outcome.UNKNOWN
    if old == new:
        return Outcome.SAME
    if metric in EXACT:
        return Outcome.BETTER if new > old else Outcome.WORSE
    if before.speedup_interval is None or after.speedup_interval is None:
        return Outcome.UNKNOWN
    (old_low, old_high), (new_low, new_high) = before.speedup_interval, after.speedup_interval
    if new_low > old_high:
        return Outcome.BETTER
    return Outcome.WORSE if new_high < old_low else Outcome.NOT_TOLD_APART


def _form_diff(
    name: str,
    before: VariantResult | None,
    after: VariantResult | None,
    pairs: Sequence[tuple[QualityGate | None, QualityGate | None]],
    metric: ObjectiveMetric | None,
    *,
    points: tuple[str | None, str | None],
) -> FormDiff:
    return FormDiff(
        name=name,
        before_state=before.state.value if before else None,
        after_state=after.state.value if after else None,
        after_reason=after.reason.value if after and after.reason else None,
        speedup=SpeedupChange(
            before=before.speedup if before else None,
            before_interval=before.speedup_interval if before else None,
            after=after.speedup if after else None,
            after_interval=after.speedup_interval if after else None,
            outcome=outcome(before, after, metric),
        ),
        gates=[_gate_change(old, new, before, after) for old, new in pairs],
        before_bytes=_bytes(before),
        after_bytes=_bytes(after),
        before_p50_ms=_p50(before, points[0]),
        after_p50_ms=_p50(after, points[1]),
        before_peak_memory_bytes=before.peak_memory_bytes if before else None,
        after_peak_memory_bytes=after.peak_memory_bytes if after else None,
    )


def _p50(form: VariantResult | None, point: str | None) -> float | None:
    speed = form.at(point) if form else None
    return speed.latency_ms.p50 if speed else None


def _bytes(form: VariantResult | None) -> int | None:
    return form.artifact.size_bytes if form and form.artifact else None


def _gate_change(
    old: QualityGate | None,
    new: QualityGate | None,
    before: VariantResult | None,
    after: VariantResult | None,
) -> GateChange:
    one, other = _value(old, new, before), _value(new, old, after)
    texts = dict.fromkeys(gate_text(gate) for gate in (old, new) if gate is not None)
    return GateChange(
        gate=" -> ".join(texts),
        before=one.text,
        before_passed=one.passed,
        after=other.text,
        after_passed=other.passed,
    )


def _value(
    gate: QualityGate | None, other: QualityGate | None, form: VariantResult | None
) -> Judged:
    """Return a form's value for a gate; where its result has none, for the other result's."""
    asked = gate or other
    if form is None or asked is None:
        return Judged(NOT_MEASURED)
    judged = judge_gate(asked, form.quality)
    return judged if gate is not None else Judged(judged.text)


def gates_of(result: MeasureResult) -> list[QualityGate]:
    """Return the gates that judged a result; none where it does not say."""
    try:
        return _GATES.validate_python((result.plan or {}).get("quality") or [])
    except ValidationError:
        return []


def _paired_gates(
    before: Iterable[QualityGate], after: Iterable[QualityGate]
) -> list[tuple[QualityGate | None, QualityGate | None]]:
    """Return gates that judge the same figure in the same way side by side."""
    old = {(gate.figure, gate.aggregate): gate for gate in before}
    new = {(gate.figure, gate.aggregate): gate for gate in after}
    return [(old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new])]


def _facts(before: MeasureResult, after: MeasureResult) -> Iterator[Change]:
    old, new = _told(before), _told(after)
    for what in dict.fromkeys([*old, *new]):
        if old.get(what) != new.get(what):
            yield Change(what=what, before=old.get(what), after=new.get(what))


def _told(result: MeasureResult) -> Mapping[str, str | None]:
    """Return what a result is of, as text, by what is said of it."""
    hardware, gates = result.hardware, [gate_text(gate) for gate in gates_of(result)]
    metric = objective_of(result)
    return {
        "target": result.target,
        "model": f"sha256:{result.source.sha256}",
        "objective": metric and metric.value,
        "point": result.objective_point,
        "gates": ", ".join(gates) or None,
        "quality compared with": result.reference and result.reference.value,
        "calibration data": result.calibration_digest,
        "evaluation data": result.evaluation_digest,
        "ground truth": result.references_digest,
        "CPU": hardware.cpu,
        "threads": None if hardware.threads is None else str(hardware.threads),
        "GPU": hardware.gpu.name if hardware.gpu else None,
        **dict(sorted(result.software.items())),
    }
