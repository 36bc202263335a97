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
from .status import built_engines, sentence
from .track import Track

PREPARATION = ""  # its key among the tracks; that of other work is its target

_WORK = {
    Stage.PREPARE: Reason.PREPARING,
    Stage.MEASURE: Reason.MEASURING,
    Stage.REPORT: Reason.SELECTING,
}


def judge(
    request: Request,
    targets: Sequence[TargetStatus],
    tracks: Mapping[str, Track],
    stage: Stage,
) -> Verdict:
    """Return how a run stands.

    Args:
        targets: Those with a result.
        tracks: The work on the others, by target; that of the preparation is PREPARATION.
        stage: What the tracks are doing.
    """
    running = [track for track in tracks.values() if not track.over]
    if running and request.spec.execution.suspend:
        done = f"{len(targets)} of {len(request.targets)} targets have a result"
        message = f"Suspended, {done}. Set spec.execution.suspend to false to continue."
        return Verdict(None, Reason.SUSPENDED, message)
    # Permanent problems come before those that may pass.
    wrong = sorted(
        ((name, t.problem, t.over) for name, t in tracks.items() if t.problem is not None),
        key=lambda item: not item[2],
    )
    work = _WORK[stage] if running else None
    if wrong:
        name, problem, _over = wrong[0]
        message = f"Target {name}: {problem.message}" if name != PREPARATION else problem.message
        return Verdict(False, problem.reason, message, work, stalled=work is None)
    if work is None:
        return _final(request, targets)
    reason = _waiting_reason(running) or work
    return Verdict(None, reason, _progress_text(request, targets, running, reason), work)


def _waiting_reason(running: Sequence[Track]) -> Reason | None:
    if not all(track.queued or track.waiting for track in running):
        return None
    return Reason.QUEUED if any(track.queued for track in running) else Reason.PENDING


def _final(request: Request, targets: Sequence[TargetStatus]) -> Verdict:
    said = partial(sentence, gates=request.spec.quality, objective=request.spec.objective.metric)
    measured = [target for target in targets if target.baseline is not None]
    built = [target for target in targets if target.baseline is None]
    losers, reason = [t for t in measured if t.selected is None], Reason.NO_VARIANT_PASSED
    if any(t.baseline and t.baseline.state == VariantState.REJECTED for t in losers):
        reason = Reason.BASELINE_REJECTED
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
        Reason.PENDING: "Waiting for a node on which no other measurement runs",
        Reason.QUEUED: "Waiting for quota in the queue: Kueue keeps the Job suspended",
        Reason.PREPARING: "Exporting, verifying and quantizing the model",
        Reason.SELECTING: "Selecting again from the figures in the store",
    }
    measured = f"{len(targets)} of {len(request.targets)} targets measured"
    text = texts.get(reason, measured)
    notes = [track.note for track in running if track.note]
    return ". ".join([f"{text} (Job {jobs})" if jobs else text, *notes])
