"""How a run stands: the verdict in kstatus' terms, and its message for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import BASELINE
from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_api.status import TargetStatus

from .conditions import Verdict
from .request import Request
from .status import built_engines, misses_constraints, sentence
from .track import Track
from .waiting import Wait

PREPARATION = ""  # its key among the tracks; that of other work is its target

_REJECTED = VariantState.REJECTED.value
_WORK = {
    Stage.PREPARE: Reason.PREPARING,
    Stage.MEASURE: Reason.MEASURING,
    Stage.VERIFY: Reason.VERIFYING,
    Stage.REPORT: Reason.SELECTING,
}


def judge(
    request: Request,
    targets: Sequence[TargetStatus],
    tracks: Mapping[str, Track],
    stage: Stage,
    wait: Wait | None = None,
) -> Verdict:
    """Return how a run stands.

    Args:
        targets: Those with a result.
        tracks: The work on the others, by target; that of the preparation is PREPARATION.
        stage: What the tracks are doing.
        wait: How long none of them has proceeded.
    """
    running = [track for track in tracks.values() if not track.over]
    late = wait is not None and wait.is_over
    found = ((n, t.problem or (t.blocked if late else None), t.over) for n, t in tracks.items())
    # Permanent problems come before those that may pass.
    wrong = sorted(
        ((name, problem, over) for name, problem, over in found if problem is not None),
        key=lambda item: not item[2],
    )
    work = _WORK[stage] if running and not late else None
    if wrong:
        name, problem, over = wrong[0]
        message = f"Target {name}: {problem.message}" if name != PREPARATION else problem.message
        if late and not over:
            message = f"{message.rstrip('.')}. {_too_long(request)}"
        return Verdict(False, problem.reason, message, work, stalled=work is None)
    if work is None:
        return _final(request, targets)
    reason = _waiting_reason(running) or work
    return Verdict(None, reason, _progress_text(request, targets, running, reason), work)


def suspended(request: Request, done: int, shown: Sequence[TargetStatus]) -> Verdict:
    """Return how a run stands that is not to go on: nothing will happen until spec changes.

    It is Ready where every target has something to serve, of an earlier run too: what spec asks
    for now, no Jobs, is so. Else only a change helps, and nobody is to wait for it.

    Args:
        done: Number of targets with a result of this run.
        shown: The targets in status.
    """
    serving = [target for target in shown if target.artifact or built_engines(target)]
    ready = len(serving) == len(request.targets)
    results = f"{done} of {len(request.targets)} targets have a result"
    what = "what was selected last is there to serve" if ready else "not all have anything to serve"
    message = f"Suspended: {results}, {what}. Set spec.execution.suspend to false to continue."
    return Verdict(ready, Reason.SUSPENDED, message, stalled=not ready)


def _too_long(request: Request) -> str:
    seconds = request.spec.execution.longest_wait_seconds
    return (
        f"Nothing has proceeded for {seconds} s (spec.execution.progressDeadlineSeconds); it goes "
        "on once that is solved"
    )


def _waiting_reason(running: Sequence[Track]) -> Reason | None:
    if not all(track.queued or track.waiting for track in running):
        return None
    return Reason.QUEUED if any(track.queued for track in running) else Reason.WAITING_FOR_SLOT


def _final(request: Request, targets: Sequence[TargetStatus]) -> Verdict:
    said = partial(sentence, spec=request.spec)
    measured = [target for target in targets if target.baseline is not None]
    built = [target for target in targets if target.baseline is None]
    losers, reason = [t for t in measured if t.selected is None], Reason.NO_VARIANT_PASSED
    refused = [t.baseline for t in losers if t.baseline and t.baseline.state == _REJECTED]
    if refused:
        by_constraints = all(map(misses_constraints, refused))
        reason = Reason.CONSTRAINTS_MISSED if by_constraints else Reason.BASELINE_REJECTED
    if not losers:
        losers, reason = [t for t in built if not built_engines(t)], Reason.NO_ENGINE_BUILT
    if losers:
        message = " ".join([*map(said, losers), REASONS[reason].remedy])
        return Verdict(False, reason, message, stalled=True)
    reason = Reason.OPTIMIZED
    if all(target.selected == BASELINE for target in measured):
        reason = Reason.BASELINE_KEPT if measured else Reason.BUILT
    return Verdict(True, reason, "; ".join(map(said, targets)))


def _progress_text(
    request: Request, targets: Sequence[TargetStatus], running: Sequence[Track], reason: Reason
) -> str:
    jobs = ", ".join(track.job.name for track in running if track.job is not None)
    texts = {
        Reason.QUEUED: "Waiting for quota in the queue: Kueue keeps the Job suspended",
        Reason.PREPARING: "Exporting, verifying and quantizing the model",
        Reason.VERIFYING: "Verifying that the last selection still holds",
        Reason.SELECTING: "Selecting again from the figures in the store",
    }
    # Several targets wait for slots of one profile for the same reason.
    notes = dict.fromkeys(track.note for track in running if track.note)
    if reason is Reason.WAITING_FOR_SLOT:
        return ". ".join(notes)
    measured = f"{len(targets)} of {len(request.targets)} targets measured"
    text = texts.get(reason, measured)
    return ". ".join([f"{text} (Job {jobs})" if jobs else text, *notes])
