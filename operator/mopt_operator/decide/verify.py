"""What a verification says of a target's result: it holds, or all is measured again. Pure.

It is no verdict of its own: it timed a few forms briefly. So whatever it finds wrong, a full run
says what is right; but what was seen to miss a gate is served no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mopt_api.constraints import misses, shown_figures
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import BASELINE
from mopt_api.jobs.termination import MeasureSummary, VariantSummary
from mopt_api.objective import LATENCIES
from mopt_api.reasons import MAX_MESSAGE, Reason
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import TargetStatus, VariantStatus
from mopt_api.text import one_line
from mopt_api.verification import Verification, VerificationState

SHARE = 0.1
"""By which a figure may be worse in a short measurement: 0.1 is 10 %."""
_OF_TIME = (*LATENCIES, ObjectiveMetric.THROUGHPUT)

Form = VariantStatus | VariantSummary
_Seen = Mapping[str, VariantSummary]


def begun(target: TargetStatus, reason: Reason) -> TargetStatus:
    """Return a target whose verification is at work; what is known of the last one stays."""
    last = target.verification or Verification(state="", reason="")
    return _with(
        target,
        last.model_copy(
            update={"state": VerificationState.RUNNING.value, "reason": reason.value}
            | {"message": None}
        ),
    )


def interrupted(target: TargetStatus) -> TargetStatus:
    """Return a target whose verification nobody waits for: the last one's finding is what holds."""
    last = target.verification
    if last is None or last.state != VerificationState.RUNNING:
        return target
    if last.measured_at is None:
        return _with(target, None)
    return _with(target, last.model_copy(update={"state": VerificationState.HELD.value}))


def failed(target: TargetStatus, why: str) -> TargetStatus:
    """Return a target that could not be verified."""
    message = one_line(f"It could not be verified: {why}", MAX_MESSAGE)
    state = VerificationState.BROKEN.value
    return _with(target, Verification(state=state, reason=_reason(target), message=message))


def _reason(target: TargetStatus) -> str:
    return target.verification.reason if target.verification else ""


def concluded(
    target: TargetStatus,
    summary: MeasureSummary,
    spec: ModelOptimizationSpec,
    *,
    optimizer: str | None,
    limits: Mapping[str, str],
) -> TargetStatus:
    """Return a target with what its verification found.

    Where it holds, it is no more of an earlier run. Else forms are as they were seen now, as far
    as that is worse: of those that miss a gate none stays selected.

    Args:
        target: As it is shown while it is verified.
        optimizer, limits: Of the Job.
    """
    objection = next(_objections(target, summary, spec), None)
    state = VerificationState.HELD if objection is None else VerificationState.BROKEN
    found = Verification(
        state=state.value,
        reason=_reason(target),
        message=one_line(objection or _held(target), MAX_MESSAGE),
        optimizer=optimizer,
        software=summary.software,
        hardware=summary.hardware,
        limits=dict(limits),
        measured_at=summary.measured_at,
        result=summary.result,
    )
    if objection is None:
        held = target.model_copy(update={"from_earlier_run": None, "source": None})
        return _with(held, found)
    return _with(_without_rejected(target, summary), found)


def _with(target: TargetStatus, verification: Verification | None) -> TargetStatus:
    return target.model_copy(update={"verification": verification})


def _held(target: TargetStatus) -> str:
    return f"{target.selected} holds its gates and is the best, within {SHARE:.0%}"


def _objections(
    target: TargetStatus, summary: MeasureSummary, spec: ModelOptimizationSpec
) -> Iterator[str]:
    """Yield why a target's result no longer holds, what matters most first."""
    seen = _seen(summary)
    for form in _rejected(target, seen).values():
        yield f"{form.name} was rejected: {form.message or form.reason or form.state}"
    chosen = seen.get(target.selected or "")
    if chosen is None or not _is_same(chosen, target.winner):
        yield f"{target.selected} could not be measured: its file is not the one that is served"
        return
    if chosen.state != VariantState.PASSED:
        yield f"{chosen.name}: {chosen.message or chosen.reason or chosen.state}"
    yield from _other_data(target, summary)
    yield from _too_slow(target, chosen, seen, spec)


def _seen(summary: MeasureSummary) -> _Seen:
    """Return the forms that a verification measured, by name."""
    everyone = [*([summary.baseline] if summary.baseline else []), *summary.variants]
    return {form.name: form for form in everyone}


def _is_same(form: VariantSummary, known: VariantStatus | None) -> bool:
    """Tell whether a form is of the file that is known; the baseline is always the source model."""
    if known is None:
        return False
    file = known.artifact.digest if known.artifact else None
    return form.name == BASELINE or form.artifact_digest == file


def _rejected(target: TargetStatus, seen: _Seen) -> _Seen:
    """Return the forms that passed and miss a gate now."""
    return {
        form.name: seen[form.name]
        for form in target.everyone
        if form.state == VariantState.PASSED
        and form.name in seen
        and seen[form.name].state == VariantState.REJECTED
        and _is_same(seen[form.name], form)
    }


def _other_data(target: TargetStatus, summary: MeasureSummary) -> Iterator[str]:
    for part in ("evaluation", "references"):
        was, now = (getattr(each.data, part, None) for each in (target, summary))
        if was is not None and now != was:
            yield f"its data.{part} is other data now"


def _too_slow(
    target: TargetStatus, chosen: VariantSummary, seen: _Seen, spec: ModelOptimizationSpec
) -> Iterator[str]:
    """Yield why a form would not be selected now, by more than short measurements differ.

    What it was behind before, since it won under load, it may be behind now.
    """
    metric, name = spec.objective.metric, chosen.name
    least = max(1.0, spec.objective.minimum_speedup)
    was, now = _costs(target.everyone, metric), _costs(seen.values(), metric)
    if name not in now or BASELINE not in now:
        yield f"{name} was not timed"
        return
    speedup, before = now[BASELINE] / now[name], _ratio(was, BASELINE, name)
    if name != BASELINE and speedup * (1 + SHARE) < min(least, before or least):
        yield f"{name} is only {speedup:.3g} times as good as the baseline"
    # What takes the baseline's place is better by enough; another variant just has to be better.
    wanted = least if name == BASELINE else 1.0
    for other, cost in now.items():
        lead = now[name] / cost
        if other != BASELINE and lead > (1 + SHARE) * max(wanted, _ratio(was, name, other) or 1.0):
            yield f"{other} is {lead:.3g} times as good as {name}"
    if spec.benchmark.load is None:
        bounds = [bound for bound in spec.objective.constraints if bound.metric in _OF_TIME]
        missed = misses(shown_figures(chosen), bounds, under_load=False)
        yield from (f"{name}: {miss}" for miss in missed)


def _costs(forms: Iterable[Form], metric: ObjectiveMetric) -> dict[str, float]:
    """Return what the objective compares of the forms that passed, and of the baseline: of one
    call after the other."""
    found = {}
    for form in forms:
        cost = replace(shown_figures(form), load=None).cost(metric)
        if cost is not None and (form.state == VariantState.PASSED or form.name == BASELINE):
            found[form.name] = cost
    return found


def _ratio(costs: Mapping[str, float], one: str, other: str) -> float | None:
    """Return how many times as good another form is; None where that is not known."""
    return costs[one] / costs[other] if one in costs and other in costs else None


def _without_rejected(target: TargetStatus, summary: MeasureSummary) -> TargetStatus:
    """Return a target in which the forms that miss a gate now are Rejected, and not selected.

    In their place is what the verification selected, which it saw to hold all gates.
    """
    seen = _seen(summary)
    rejected = _rejected(target, seen)
    if not rejected:
        return target

    def shown(form: VariantStatus) -> VariantStatus:
        if form.name not in rejected:
            return form
        names = ("state", "reason", "message", "quality")
        return form.model_copy(update={each: getattr(rejected[form.name], each) for each in names})

    selected = target.selected
    if selected in rejected:
        passed = {
            form.name
            for form in target.everyone
            if form.name not in rejected
            and form.state == VariantState.PASSED
            and form.name in seen
            and seen[form.name].state == VariantState.PASSED
            and _is_same(seen[form.name], form)
        }
        selected = summary.selected if summary.selected in passed else None
    return target.model_copy(
        update={
            "baseline": target.baseline and shown(target.baseline),
            "variants": [shown(form) for form in target.variants],
            "selected": selected,
        }
    )
