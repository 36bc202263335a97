"""Follows one work item through its Jobs and Pods. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mopt_api.jobs.termination import MeasureSummary, MessageError, PrepareSummary, decode
from mopt_api.reasons import Reason
from mopt_api.text import one_line
from mopt_operator.objects import Job, Pod, Snapshot

from .failures import (
    QUOTED,
    Problem,
    admission_problem,
    creation_problem,
    disruption_problem,
    end_problem,
    job_problem,
    lost_seconds,
    node_problem,
    problem,
    start_problem,
    waits_its_turn,
)

# Jobs and Pods come by two watches: a complete Job's Pod may be seen later than the Job.
GRACE_SECONDS = 15.0
_FIRST_POLL_SECONDS = 3.0
_LONGEST_POLL_SECONDS = 30.0
# A queue may hold very many Jobs for days, and the watch reports when it admits one.
_LONGEST_QUEUED_SECONDS = 300.0
# After the end that a deleted Pod should have had: it is said that its node is lost, and its work
# is begun anew elsewhere. Controllers wait five minutes before they delete the Pods of such a node.
LOST_SECONDS = 120.0
GIVEN_UP_SECONDS = 600.0

Outcome = PrepareSummary | MeasureSummary


@dataclass(frozen=True)
class Track:
    """Where a work item stands.

    Attributes:
        names: Names that its Jobs may have.
        job: The one that counts now.
        create: Attempt number of the Job to create; None where there is one.
        outcome: What it returned.
        problem: What is wrong, permanently or for now.
        over: The outcome or the problem is final.
        waiting: Another measurement occupies the node.
        queued: The Job is suspended: its queue has no quota left.
        note: What a person should know while it runs.
        requeue_after: Seconds after which to look again without an event.
        lost: The Job is to be deleted, and made again: its Pod will never end.
    """

    names: tuple[str, ...]
    job: Job | None = None
    create: int | None = None
    outcome: Outcome | None = None
    problem: Problem | None = None
    over: bool = False
    waiting: bool = False
    queued: bool = False
    note: str = ""
    requeue_after: float | None = None
    lost: bool = False


@dataclass(frozen=True)
class _Observed:
    """What the Pods of a running Job show."""

    problem: Problem | None = None
    waiting: bool = False
    note: str = ""
    requeue_after: float | None = None
    lost: bool = False


def _next_look(job: Job, now: datetime, longest: float) -> float:
    """Return the seconds until a Job without a Pod is looked up again; they grow with its age."""
    age = (now - job.created).total_seconds()
    return min(max(_FIRST_POLL_SECONDS, age / 4), longest)


def _running(job: Job, snapshot: Snapshot, now: datetime) -> _Observed:
    pods = snapshot.pods_of(job)
    failed = [pod for pod in pods if pod.phase == "Failed" and not pod.disrupted]
    last = end_problem(failed[-1]) if failed else None
    live = [pod for pod in pods if not pod.finished]
    if not live:
        warning = snapshot.warnings.get(job.uid)
        return _Observed(
            problem=creation_problem(job, warning) if warning else last,
            requeue_after=_next_look(job, now, _LONGEST_POLL_SECONDS),
        )
    pod = live[-1]
    late = lost_seconds(pod, now)
    if late is not None and late >= LOST_SECONDS:
        return _Observed(
            problem=node_problem(pod),
            lost=late >= GIVEN_UP_SECONDS,
            requeue_after=max(0.0, GIVEN_UP_SECONDS - late),
        )
    if late is not None:
        return _Observed(problem=last, requeue_after=LOST_SECONDS - late)
    if wrong := start_problem(pod):
        return _Observed(problem=wrong)
    if pod.phase == "Pending":
        return _Observed(problem=last, waiting=waits_its_turn(pod))
    if last is not None:
        return _Observed(note=f"Attempt {len(failed) + 1}, after: {last.message}")
    return _Observed()


def _result(job: Job, pods: list[Pod], fits: Callable[[object], bool]) -> Outcome | Problem | None:
    """Return what a complete Job returned; None where no Pod with a message is left."""
    for pod in reversed(pods):
        if pod.phase != "Succeeded" or pod.terminated is None:
            continue
        try:
            summary = decode(pod.terminated.message)
        except MessageError as error:
            return _without_result(job, f"{error}: {pod.terminated.message[:QUOTED]}")
        if fits(summary) and isinstance(summary, PrepareSummary | MeasureSummary):
            return summary
        return _without_result(
            job, f"its message, of stage {summary.stage}, is not about this work"
        )
    return None


def _without_result(job: Job, why: str) -> Problem:
    return problem(Reason.JOB_FAILED, f"Job {job.name} completed without a result ({why})")


def prepares(sha256: str) -> Callable[[object], bool]:
    """Return the test of a summary of a preparation of that model."""
    return lambda summary: isinstance(summary, PrepareSummary) and summary.source.sha256 == sha256


def measures(target: str) -> Callable[[object], bool]:
    """Return the test of a summary of that target."""
    return lambda summary: isinstance(summary, MeasureSummary) and summary.target == target


def follow(
    names: tuple[str, ...],
    snapshot: Snapshot,
    now: datetime,
    fits: Callable[[object], bool],
) -> Track:
    """Return where a work item stands.

    Args:
        names: Name of the Job of each attempt.
        fits: Whether a decoded summary is one that this work returns.
    """
    jobs = {job.name: job for job in snapshot.jobs if not job.deleting}
    job: Job | None = None
    for attempt, name in enumerate(names):
        if name in snapshot.refusals:
            refused = admission_problem(*snapshot.refusals[name])
            forbidden = refused.reason is Reason.POD_FORBIDDEN
            return Track(
                names,
                problem=refused,
                over=not forbidden,
                requeue_after=_LONGEST_POLL_SECONDS if forbidden else None,
            )
        job = jobs.get(name)
        if job is None:
            return Track(names, create=attempt)
        pods = snapshot.pods_of(job)
        if job.failed is not None:
            return Track(names, job, problem=job_problem(job, pods), over=True)
        if job.completed is None and job.suspended:
            note = one_line(snapshot.held.get(job.uid, ""), QUOTED)
            delay = _next_look(job, now, _LONGEST_QUEUED_SECONDS)
            return Track(names, job, queued=True, note=note, requeue_after=delay)
        if job.completed is None and (given_up := disruption_problem(pods)):
            return Track(names, job, problem=given_up, over=True)
        if job.completed is None:
            seen = _running(job, snapshot, now)
            return Track(
                names,
                job,
                problem=seen.problem,
                waiting=seen.waiting,
                note=seen.note,
                requeue_after=seen.requeue_after,
                lost=seen.lost,
            )
        result = _result(job, pods, fits)
        if isinstance(result, Problem):
            return Track(names, job, problem=result, over=True)
        if result is not None:
            return Track(names, job, outcome=result, over=True)
        left = GRACE_SECONDS - (now - job.completed).total_seconds()
        if left > 0:
            return Track(names, job, requeue_after=left)
    lost = f"The Pods of {len(names)} complete Jobs disappeared before their results were read"
    return Track(names, job, problem=problem(Reason.JOB_FAILED, lost), over=True)
