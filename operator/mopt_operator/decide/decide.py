"""What to do next for one resource: all of the operator's logic. Pure.

Level-triggered: the answer depends on the present state alone, never on what was seen before, so
that restarts, repeated events and missed events all end in the same state.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mopt_api.reasons import ErrorReport, Reason
from mopt_api.status import ModelOptimizationStatus
from mopt_operator.config.settings import Settings, UpgradePolicy
from mopt_operator.objects import Job, Json, Resource, Snapshot

from .artifact import available, with_artifact
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
    status, complete = read_status(resource)
    optimizers = Optimizers(resource, settings, snapshot.versions)
    settled = is_settled(status, resource)
    if settled and not complete:
        return Plan()  # A newer version's, which this one can only damage.
    if settled:
        rerun = _is_to_rerun(status, optimizers)
        # One that was killed before it wrote its status has begun already.
        begun = any(not job.finished for job in jobs)
        if not rerun or not (snapshot.may_rerun or begun):
            return replace(_settled(status, jobs, optimizers, now), rerun_waits=rerun)
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
            status=changed_status(
                optimizers, status, verdict, kept, now, wanted=[t.name for t in kept.targets]
            ),
        )
    return Run(request, status, replace(snapshot, jobs=jobs), now, settings).plan()


def _is_to_rerun(status: ModelOptimizationStatus, optimizers: Optimizers) -> bool:
    """Tell whether the administrator wants the results of another optimizer made again."""
    if optimizers.settings.on_upgrade.policy is not UpgradePolicy.RERUN or is_suspended(
        optimizers.resource
    ):
        return False
    # What a run has not replaced, it could not make again.
    return any(
        optimizers.has_other_name_than(target)
        for target in status.targets
        if not target.from_earlier_run
    )


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
    """Return the status with Outdated as it is now; None where nothing changes.

    What to serve is filled in where an older version wrote the status. All else stays as it was
    written, also by a newer version.
    """
    written = optimizers.resource.status
    said, changed = list(status.conditions), {}
    generation = status.observed_generation
    targets = [
        target if target.artifact else with_artifact(target, None, generation=generation, now=now)
        for target in status.targets
    ]
    if targets != status.targets:
        changed["targets"] = [
            old | ({"artifact": new.artifact.to_api()} if new.artifact else {})
            for old, new in zip(written["targets"], targets, strict=True)
        ]
        names = [target.name for target in targets]
        served = available(targets, names, said, generation=generation, now=now)
        said += filter(None, [served])
    marked = with_outdated(said, targets, optimizers, status, now=now)
    if marked != status.conditions:
        changed["conditions"] = [condition.to_api() for condition in marked]
    return written | changed if changed else None
