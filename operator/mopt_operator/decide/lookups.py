"""Which Jobs are looked up beyond what the watches show, and what the answers say. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mopt_operator.objects import Held, Job, Raw, Snapshot
from mopt_operator.times import parse_time

# By how much the watch of Pods may be behind that of Jobs, and Kueue behind its webhook.
YOUNG_SECONDS = 2.0
# Reasons of a Workload's QuotaReserved=False where its LocalQueue or ClusterQueue is not there or
# is stopped; older releases have the first, newer ones the others.
_OUT_OF_ORDER = frozenset({"Inadmissible", "Misconfigured", "Suspended"})


def _is_young(job: Job, now: datetime) -> bool:
    return (now - job.created).total_seconds() < YOUNG_SECONDS


def podless(snapshot: Snapshot, now: datetime) -> list[Job]:
    """Return the unfinished Jobs that should have an active Pod and have none.

    The Job controller makes some 20 requests a second: Jobs that it has not begun, or whose
    Pod's success it has not seen yet, are not among them.
    """
    return [
        job
        for job in snapshot.jobs
        if not job.finished
        and not job.deleting
        and not job.suspended
        and job.started is not None
        and not _is_young(job, now)
        and all(pod.phase == "Failed" for pod in snapshot.pods_of(job))
    ]


def unread(snapshot: Snapshot) -> list[Job]:
    """Return the complete Jobs whose succeeded Pod is not known."""
    return [
        job
        for job in snapshot.jobs
        if job.completed is not None
        and not job.deleting
        and all(pod.phase != "Succeeded" for pod in snapshot.pods_of(job))
    ]


def queued(snapshot: Snapshot, now: datetime) -> list[Job]:
    """Return the Jobs that have been suspended in their queue for a while."""
    return [
        job
        for job in snapshot.jobs
        if job.suspended and not job.finished and not job.deleting and not _is_young(job, now)
    ]


def latest_messages(events: Iterable[Raw]) -> dict[str, str]:
    """Return the message of the newest Event on each object, by the object's UID."""

    def time(raw: Raw) -> datetime:
        metadata = raw["metadata"]
        return parse_time(
            raw.get("lastTimestamp") or raw.get("eventTime") or metadata["creationTimestamp"]
        )

    ordered = sorted(events, key=time)
    return {raw["involvedObject"].get("uid", ""): str(raw.get("message", "")) for raw in ordered}


def refusal(workloads: list[Raw]) -> Held | None:
    """Return why Kueue does not admit a Job; None where it does not say."""
    for workload in workloads:
        for condition in (workload.get("status") or {}).get("conditions") or ():
            if condition["type"] == "QuotaReserved" and condition["status"] == "False":
                message = str(condition.get("message") or "")
                return Held(message, condition.get("reason") in _OUT_OF_ORDER) if message else None
    return None
