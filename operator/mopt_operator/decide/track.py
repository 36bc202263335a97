"""Follows one piece of work through its Jobs and Pods. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mopt_api.reasons import Reason
from mopt_api.termination import MeasureSummary, MessageError, PrepareSummary, decode

from ..objects import Job, Pod, Snapshot
from .failures import (
    QUOTED,
    Problem,
    admission_problem,
    creation_problem,
    disruption_problem,
    end_problem,
    job_problem,
    problem,
    start_problem,
    waits_its_turn,
)

# A complete Job's Pod may reach us later than the Job: two watches.
GRACE_SECONDS = 15.0
_FIRST_POLL_SECONDS = 3.0
_LONGEST_POLL_SECONDS = 30.0
# A queue may hold very many Jobs for days; its end is told by the watch.
_LONGEST_QUEUED_SECONDS = 300.0

Outcome = PrepareSummary | MeasureSummary


@dataclass(frozen=True)
class Track:
    """Where a piece of work stands.

    Attributes:
        names: Names that its Jobs may have; they are kept.
        job: The one that counts now.
        create: Attempt number of the Job to create; None where there is one.
        outcome: What it returned.
        problem: What is wrong, for good or for now.
        over: Nothing more happens: outcome or problem is final.
        waiting: A measurement of somebody else has the node.
        queued: The Job is suspended: its queue has no room.
        note: What a person should know while it runs.
        requeue_after: Seconds after which to look again without an event.
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


@dataclass(frozen=True)
class _Found:
    """What the Pods of a running Job tell."""

    problem: Problem | None = None
    waiting: bool = False
    note: str = ""
    requeue_after: float | None = None


def _next_look(job: Job, now: datetime, longest: float) -> float:
    """Return the seconds until a Job without a Pod is asked about again: ever more."""
    age = (now - job.created).total_seconds()
    return min(max(_FIRST_POLL_SECONDS, age / 4), longest)


def _running(job: Job, snapshot: Snapshot, now: datetime) -> _Found:
    pods = snapshot.pods_of(job)
    failed = [pod for pod in pods if pod.phase == "Failed" and not pod.disrupted]
    last = end_problem(failed[-1]) if failed else None
    live = [pod for pod in pods if not pod.finished]
    if not live:
        warning = snapshot.warnings.get(job.uid)
        return _Found(
            problem=creation_problem(job, warning) if warning else last,
            requeue_after=_next_look(job, now, _LONGEST_POLL_SECONDS),
        )
    pod = live[-1]
    if wrong := start_problem(pod):
        return _Found(problem=wrong)
    if pod.phase == "Pending":
        return _Found(problem=last, waiting=waits_its_turn(pod))
    if last is not None:
        return _Found(note=f"Attempt {len(failed) + 1}, after: {last.message}")
    return _Found()


def _result(job: Job, pods: list[Pod], fits: Callable[[object], bool]) -> Outcome | Problem | None:
    """Return what a complete Job returned; None where its Pod or message is not there."""
    for pod in reversed(pods):
        if pod.phase != "Succeeded" or pod.terminated is None:
            continue
        try:
            summary = decode(pod.terminated.message)
        except MessageError as error:
            return _without_result(job, f"{error}: {pod.terminated.message[:QUOTED]}")
        if fits(summary) and isinstance(summary, PrepareSummary | MeasureSummary):
            return summary
        return _without_result(job, f"its message is of stage {summary.stage}")
    return None


def _without_result(job: Job, why: str) -> Problem:
    return problem(Reason.JOB_FAILED, f"Job {job.name} completed without a result ({why})")


def follow(
    names: tuple[str, ...],
    snapshot: Snapshot,
    now: datetime,
    fits: Callable[[object], bool],
) -> Track:
    """Return where a piece of work stands.

    Args:
        names: Name of the Job of each attempt.
        fits: Whether a decoded summary is one that this work returns.
    """
    own = {job.name: job for job in snapshot.jobs if not job.deleting}
    job: Job | None = None
    for attempt, name in enumerate(names):
        if name in snapshot.refusals:
            status, words = snapshot.refusals[name]
            refused = admission_problem(status, words)
            forbidden = refused.reason is Reason.POD_FORBIDDEN
            return Track(
                names,
                problem=refused,
                over=not forbidden,
                requeue_after=_LONGEST_POLL_SECONDS if forbidden else None,
            )
        job = own.get(name)
        if job is None:
            return Track(names, create=attempt)
        pods = snapshot.pods_of(job)
        if job.failed is not None:
            return Track(names, job, problem=job_problem(job, pods), over=True)
        if job.completed is None and job.suspended:
            note = " ".join(snapshot.held.get(job.uid, "").split())[:QUOTED]
            delay = _next_look(job, now, _LONGEST_QUEUED_SECONDS)
            return Track(names, job, queued=True, note=note, requeue_after=delay)
        if job.completed is None and (given_up := disruption_problem(pods)):
            return Track(names, job, problem=given_up, over=True)
        if job.completed is None:
            found = _running(job, snapshot, now)
            return Track(
                names,
                job,
                problem=found.problem,
                waiting=found.waiting,
                note=found.note,
                requeue_after=found.requeue_after,
            )
        result = _result(job, pods, fits)
        if isinstance(result, Problem):
            return Track(names, job, problem=result, over=True)
        if result is not None:
            return Track(names, job, outcome=result, over=True)
        left = GRACE_SECONDS - (now - job.completed).total_seconds()
        if left > 0:
            return Track(names, job, requeue_after=left)
    words = f"The Pods of {len(names)} complete Jobs vanished before their result was read"
    return Track(names, job, problem=problem(Reason.JOB_FAILED, words), over=True)
