"""What the metrics show of a Job that has ended, from its Pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import MeasureSummary, MessageError, decode
from mopt_api.reasons import Reason
from mopt_operator.objects import Job, Pod

from .failures import end_problem, final_problem, job_problem

_MEASURING = frozenset({Stage.MEASURE.lower(), Stage.VERIFY.lower()})


class Measured(StrEnum):
    """How a measurement went."""

    STABLE = "Stable"
    UNSTABLE = "Unstable"
    """Others disturbed it."""
    SERVED = "Served"
    """Its figures were in the store."""


@dataclass(frozen=True)
class JobFigures:
    """How long a finished Job waited and worked, and what went wrong. Times are in seconds.

    Attributes:
        outcome: Complete or Failed.
        queued: From its creation to its start, which Kueue may put off.
        took: From its start to its end.
        starting: From its start to its container's: nodes, volumes, the image. None where no
            container started.
        ran: How long its containers ran, all attempts together; None where none did.
        failure: Why it failed; None where it did not.
        retried: Why Pods failed after which it went on.
        measured: How its measurement went; None where it made none, or says nothing.
    """

    outcome: str
    queued: float
    took: float
    starting: float | None
    ran: float | None
    failure: Reason | None
    retried: tuple[Reason, ...]
    measured: Measured | None = None


def job_figures(job: Job, pods: Iterable[Pod], now: datetime) -> JobFigures:
    """Return the figures of a finished Job.

    Args:
        pods: Of its resource; those of other Jobs are left out.
    """
    own = sorted((pod for pod in pods if pod.job_uid == job.uid), key=lambda pod: pod.created)
    started, ended = job.started or job.created, job.ended or now
    begun = [pod.began for pod in own if pod.began is not None]
    ran = [_passed(pod.began, pod.ended or ended) for pod in own if pod.began is not None]
    failure = None
    if job.completed is None:
        failure = (final_problem(own) or job_problem(job, own)).reason
    failed = tuple(_why(pod) for pod in own if pod.phase == "Failed")
    return JobFigures(
        outcome="Complete" if job.completed is not None else "Failed",
        queued=_passed(job.created, started),
        took=_passed(started, ended),
        starting=_passed(started, min(begun)) if begun else None,
        ran=sum(ran) if ran else None,
        failure=failure,
        # The last one is what the Job failed by.
        retried=failed if failure is None else failed[:-1],
        measured=_measured(job, own),
    )


def _measured(job: Job, pods: Iterable[Pod]) -> Measured | None:
    """Return how a measurement went, as the Pod says that completed it."""
    if job.stage not in _MEASURING:
        return None
    for pod in pods:
        if pod.phase != "Succeeded" or pod.terminated is None:
            continue
        try:
            summary = decode(pod.terminated.message)
        except MessageError:
            return None
        # Engines that are only built have no baseline, and nothing is measured.
        if not isinstance(summary, MeasureSummary) or summary.baseline is None:
            return None
        if summary.served_from_store:
            return Measured.SERVED
        return Measured.UNSTABLE if summary.unstable else Measured.STABLE
    return None


def _why(pod: Pod) -> Reason:
    """Return why a Pod failed; disruptions are no fault of what ran in it."""
    found = end_problem(pod)
    return Reason.DISRUPTED if pod.disrupted or found is None else found.reason


def _passed(since: datetime, until: datetime) -> float:
    """Return the seconds between two times; clocks of nodes differ."""
    return max((until - since).total_seconds(), 0.0)
