"""Follows one work item through its Jobs and Pods. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from mopt_api.jobs.termination import (
    MeasureSummary,
    MessageError,
    PrepareSummary,
    PublishSummary,
    decode,
)
from mopt_api.reasons import Reason
from mopt_api.text import one_line
from mopt_operator.objects import Held, Job, Pod, Snapshot

from .failures import (
    QUOTED,
    Problem,
    admission_problem,
    creation_problem,
    end_problem,
    final_problem,
    job_problem,
    lost_seconds,
    no_pod_problem,
    node_problem,
    overload_text,
    problem,
    queue_problem,
    slow_problem,
    start_problem,
)

# Jobs and Pods come by two watches: a complete Job's Pod may be seen later than the Job.
GRACE_SECONDS = 15.0
_FIRST_POLL_SECONDS = 3.0
_LONGEST_POLL_SECONDS = 60.0
# A queue may hold very many Jobs for days, and the watch reports when it admits one.
_LONGEST_QUEUED_SECONDS = 300.0
# After the end that a deleted Pod should have had: it is said that its node is lost, and its work
# is begun anew elsewhere. Controllers wait five minutes before they delete the Pods of such a node.
LOST_SECONDS = 120.0
GIVEN_UP_SECONDS = 600.0
# A Pod starts within seconds, or while its image is pulled.
SLOW_SECONDS = 60.0

Outcome = PrepareSummary | MeasureSummary | PublishSummary


@dataclass(frozen=True)
class Track:
    """Where a work item stands.

    Attributes:
        names: Names that its Jobs may have.
        job: The one that counts now.
        create: Attempt number of the Job to create; None where there is one.
        outcome: What it returned.
        problem: What is wrong, permanently or for now.
        blocked: What keeps it from working, where that is neither its turn nor its own fault.
        over: The outcome or the problem is final.
        waiting: Its Job is to be created when there is a slot for it.
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
    blocked: Problem | None = None
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
    blocked: Problem | None = None
    note: str = ""
    requeue_after: float | None = None
    lost: bool = False


def _next_look(job: Job, now: datetime, longest: float) -> float:
    """Return the seconds until a Job without a Pod is looked up again; they grow with its age."""
    age = _passed(job.created, now)
    return min(max(_FIRST_POLL_SECONDS, age / 4), longest)


def _running(job: Job, snapshot: Snapshot, now: datetime) -> _Observed:
    pods = snapshot.pods_of(job)
    failed = [pod for pod in pods if pod.phase == "Failed" and not pod.disrupted]
    last = end_problem(failed[-1]) if failed else None
    live = [pod for pod in pods if not pod.finished]
    if not live:
        warning = snapshot.warnings.get(job.uid)
        refused = creation_problem(job, warning) if warning else None
        idle = not pods and _passed(job.created, now) >= SLOW_SECONDS
        return _Observed(
            problem=refused or last,
            blocked=refused or (no_pod_problem(job) if idle else None),
            requeue_after=_next_look(job, now, _LONGEST_POLL_SECONDS),
        )
    pod = live[-1]
    late = lost_seconds(pod, now)
    if late is not None and late >= LOST_SECONDS:
        gone = node_problem(pod)
        return _Observed(
            problem=gone,
            blocked=gone,
            lost=late >= GIVEN_UP_SECONDS,
            requeue_after=max(0.0, GIVEN_UP_SECONDS - late),
        )
    if late is not None:
        return _Observed(problem=last, requeue_after=min(LOST_SECONDS - late, GIVEN_UP_SECONDS))
    if wrong := start_problem(pod):
        return _Observed(problem=wrong, blocked=wrong)
    if pod.phase == "Pending":
        return _starting(pod, last, now)
    if last is not None:
        return _Observed(note=f"Attempt {len(failed) + 1}, after: {last.message}")
    return _Observed()


def _starting(pod: Pod, last: Problem | None, now: datetime) -> _Observed:
    """Return what is seen of a Pod of which nothing is known to be wrong.

    Args:
        last: Why the Pod before it failed.
    """
    left = SLOW_SECONDS - _passed(pod.scheduled or pod.created, now)
    if left > 0:
        return _Observed(problem=last, requeue_after=min(left, SLOW_SECONDS))
    slow = slow_problem(pod)
    return _Observed(problem=last, blocked=slow, note=slow.message)


def _passed(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()


def _result(job: Job, pods: list[Pod], fits: Callable[[object], bool]) -> Outcome | Problem | None:
    """Return what a complete Job returned; None where no Pod with a message is left."""
    for pod in reversed(pods):
        if pod.phase != "Succeeded" or pod.terminated is None:
            continue
        try:
            summary = decode(pod.terminated.message)
        except MessageError as error:
            return _without_result(job, f"{error}: {pod.terminated.message[:QUOTED]}")
        if fits(summary) and isinstance(summary, Outcome):
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


def publishes(targets: Collection[str]) -> Callable[[object], bool]:
    """Return the test of a summary of images of exactly those targets."""
    return lambda summary: (
        isinstance(summary, PublishSummary)
        and {image.target for image in summary.images} == {*targets}
    )


def _queued(names: tuple[str, ...], job: Job, held: Held, now: datetime) -> Track:
    """Return where a work item stands whose Job is in its queue."""
    return Track(
        names,
        job,
        queued=True,
        blocked=queue_problem(job, held.message) if held.out_of_order else None,
        note=one_line(held.message, QUOTED),
        requeue_after=_next_look(job, now, _LONGEST_QUEUED_SECONDS),
    )


def _without_job(names: tuple[str, ...], attempt: int, snapshot: Snapshot) -> Track:
    """Return where a work item stands whose Job is to be created, or may not be."""
    name = names[attempt]
    if name in snapshot.waits:
        return Track(names, waiting=True, note=snapshot.waits[name])
    if name not in snapshot.refusals:
        return Track(names, create=attempt)
    status, message = snapshot.refusals[name]
    if status == 429:
        return Track(names, waiting=True, note=overload_text(message))
    refused = admission_problem(status, message)
    if refused.reason is not Reason.POD_FORBIDDEN:
        return Track(names, problem=refused, over=True)
    # It is woken to try again; the time is for the case that it were forgotten.
    later = _LONGEST_QUEUED_SECONDS
    return Track(names, problem=refused, blocked=refused, requeue_after=later)


def _unfinished(names: tuple[str, ...], job: Job, snapshot: Snapshot, now: datetime) -> Track:
    """Return where a work item stands whose Job is at work, or waits to be."""
    if job.suspended:
        return _queued(names, job, snapshot.held.get(job.uid, Held("")), now)
    if given_up := final_problem(snapshot.pods_of(job)):
        return Track(names, job, problem=given_up, over=True)
    if node := snapshot.crowded.get(job.uid):
        note = f"Giving way to another measurement on node {node}"
        return Track(names, job, waiting=True, note=note, lost=True)
    seen = _running(job, snapshot, now)
    return Track(
        names,
        job,
        problem=seen.problem,
        blocked=seen.blocked,
        note=seen.note,
        requeue_after=seen.requeue_after,
        lost=seen.lost,
    )


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
        job = jobs.get(name)
        if name in snapshot.refusals or job is None:
            return _without_job(names, attempt, snapshot)
        pods = snapshot.pods_of(job)
        if job.failed is not None:
            return Track(names, job, problem=job_problem(job, pods), over=True)
        if job.completed is None:
            return _unfinished(names, job, snapshot, now)
        result = _result(job, pods, fits)
        if isinstance(result, Problem):
            return Track(names, job, problem=result, over=True)
        if result is not None:
            return Track(names, job, outcome=result, over=True)
        left = GRACE_SECONDS - (now - job.completed).total_seconds()
        if left > 0:
            return Track(names, job, requeue_after=min(left, GRACE_SECONDS))
    lost = f"The Pods of {len(names)} complete Jobs disappeared before their results were read"
    return Track(names, job, problem=problem(Reason.JOB_FAILED, lost), over=True)
