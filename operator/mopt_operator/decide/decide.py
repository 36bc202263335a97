"""What to do next for one resource: all of the operator's logic. Pure.

Level-triggered: the answer depends on the present state alone, never on what was seen before, so
that restarts, repeated events and missed events all end in the same state.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mopt_api.reasons import ErrorReport, Reason
from mopt_api.status import ModelOptimizationStatus
from mopt_operator.config.settings import OnUpgrade, Settings
from mopt_operator.objects import Job, Json, Resource, Snapshot

from .conditions import Verdict
from .outdated import Optimizers, with_outdated
from .plan import Plan, changed_status
from .request import InvalidRequest, is_settled, is_suspended, read_request, read_status
from .run import Run

__all__ = ["Plan", "decide"]


def decide(snapshot: Snapshot, now: datetime, settings: Settings) -> Plan:
    """Return what is to be done for a resource.

    Args:
        snapshot: Only the Jobs that the resource owns count.
        now: In UTC.
    """
    resource = snapshot.resource
    jobs = tuple(job for job in snapshot.jobs if job.owner_uid == resource.uid)
    if resource.deleting:
        return Plan()
    # Read once for the whole decision: it is large, and parsing it is most of the work.
    status = read_status(resource)
    optimizers = Optimizers(resource, settings, snapshot.versions)
    if is_settled(status, resource) and not _is_to_rerun(status, optimizers):
        return _settled(status, jobs, optimizers, now)
    try:
        request = read_request(resource, settings)
    except InvalidRequest as error:
        report = ErrorReport(reason=Reason.INVALID_SPEC, message=str(error))
        verdict = Verdict(False, report.reason, report.sentence(), stalled=True)
        # The last results stay, as they do elsewhere when a spec becomes invalid (the history of
        # a HelmRelease, the notAfter of a Certificate).
        kept = status.model_copy(update={"progress": None})
        return Plan(
            delete=tuple(job for job in jobs if not job.deleting),
            status=changed_status(optimizers, status, verdict, kept, now),
        )
    return Run(request, status, replace(snapshot, jobs=jobs), now, settings).plan()


def _is_to_rerun(status: ModelOptimizationStatus, optimizers: Optimizers) -> bool:
    """Tell whether the administrator wants the results of another optimizer made again."""
    if optimizers.settings.on_upgrade is not OnUpgrade.RERUN or is_suspended(optimizers.resource):
        return False
    return any(map(optimizers.has_other_name_than, status.targets))


def _settled(
    status: ModelOptimizationStatus,
    jobs: tuple[Job, ...],
    optimizers: Optimizers,
    now: datetime,
) -> Plan:
    expire = tuple(j for j in jobs if j.finished and not j.expires and not j.deleting)
    return Plan(
        delete=tuple(job for job in jobs if not job.finished and not job.deleting),
        expire=expire,
        ttl_seconds=_ttl_seconds(optimizers.resource, optimizers.settings) if expire else 0,
        status=_marked(status, optimizers, now),
    )


def _ttl_seconds(resource: Resource, settings: Settings) -> int:
    wanted = (resource.spec.get("execution") or {}).get("ttlSecondsAfterFinished")
    return wanted if isinstance(wanted, int) else settings.ttl_seconds_after_finished


def _marked(status: ModelOptimizationStatus, optimizers: Optimizers, now: datetime) -> Json | None:
    """Return the status with Outdated as it is now; None where nothing changes."""
    marked = with_outdated(status.conditions, status.targets, optimizers, status, now=now)
    if marked == status.conditions:
        return None
    return status.model_copy(update={"conditions": marked}).to_api()
