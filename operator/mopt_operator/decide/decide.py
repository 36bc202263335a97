"""What to do next for one resource: all of the operator's logic. Pure.

Level-triggered: the answer depends on the present state alone, never on what was seen before, so
that restarts, repeated events and missed events all end in the same state.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mopt_api.reasons import ErrorReport, Reason
from mopt_api.status import Condition, ModelOptimizationStatus, Summary, TargetStatus
from mopt_operator.config.settings import Settings
from mopt_operator.objects import Job, Json, Resource, Snapshot

from .artifact import available, with_artifact
from .asked import read_asked
from .conditions import Verdict
from .holding import held_all, is_proved
from .outdated import Optimizers
from .plan import Plan, changed_status
from .publication import STAGE, Publication, published_after_run, published_during_run
from .recommend import recommendation
from .request import (
    InvalidRequest,
    NoProfile,
    is_settled,
    is_suspended,
    read_status,
    refuse_withheld,
    speaks_of_this_run,
)
from .run import Run
from .stale import with_outdated
from .upgrade import due

__all__ = ["Plan", "decide"]
LABELS_SECONDS = 60.0
# Absent where nothing is selected.
_VERDICT = ("selected", "artifact")


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
    optimizers = Optimizers(resource, settings, snapshot.told)
    settled = is_settled(status, resource)
    if settled and not complete:
        return Plan()  # A newer version's, which this one can only damage.
    if settled:
        rerun = _is_to_rerun(status, optimizers)
        # One that was killed before it wrote its status has begun already.
        begun = any(not job.finished and job.stage != STAGE for job in jobs)
        if not rerun or not (snapshot.may_rerun or begun):
            seen = replace(snapshot, jobs=jobs)
            publication = published_after_run(status, seen, settings, now)
            plan = _settled(status, jobs, optimizers, publication, now)
            return replace(plan, rerun_waits=rerun)
    try:
        asked = read_asked(resource, settings)
        refuse_withheld(asked.request, settings, snapshot.namespace_labels)
    except InvalidRequest as error:
        return _refused(error, status, jobs, optimizers, now)
    return Run(asked, status, replace(snapshot, jobs=jobs), now, settings).plan()


def _refused(
    error: InvalidRequest,
    status: ModelOptimizationStatus,
    jobs: tuple[Job, ...],
    optimizers: Optimizers,
    now: datetime,
) -> Plan:
    """Return what is to be done for a resource that cannot be carried out.

    Where that is the administrator's doing, Jobs of this run go on: once the profile is back, their
    results count. The last results stay, as they do elsewhere when a spec becomes invalid (the
    history of a HelmRelease, the notAfter of a Certificate).
    """
    resource, settings = optimizers.resource, optimizers.settings
    report = ErrorReport(reason=Reason.INVALID_SPEC, message=str(error))
    verdict = Verdict(False, report.reason, report.sentence(), stalled=True)
    targets = [
        with_artifact(target, target.artifact, generation=resource.generation, now=now)
        for target in held_all(status, resource)
    ]
    summary = status.summary
    if summary is not None and [t.selected for t in targets] != [
        t.selected for t in status.targets
    ]:
        summary = Summary(targets=summary.targets)
    published = published_during_run(
        None, resource, settings, targets, status.conditions, ready=False, now=now
    )
    begun = isinstance(error, NoProfile) and speaks_of_this_run(status, resource)
    return Plan(
        delete=() if begun else tuple(job for job in jobs if not job.deleting),
        status=changed_status(
            optimizers,
            status,
            verdict,
            status.model_copy(update={"progress": None, "targets": targets, "summary": summary}),
            now,
            wanted=[target.name for target in targets],
            published=published,
        ),
        # Nothing watches the labels of namespaces.
        requeue_after=LABELS_SECONDS if error.by_namespace else None,
    )


def _is_to_rerun(status: ModelOptimizationStatus, optimizers: Optimizers) -> bool:
    """Tell whether the administrator wants results made again, or verified."""
    if is_suspended(optimizers.resource):
        return False
    return any(due(target, optimizers, status) for target in status.targets)


def _settled(
    status: ModelOptimizationStatus,
    jobs: tuple[Job, ...],
    optimizers: Optimizers,
    publication: Publication,
    now: datetime,
) -> Plan:
    rest = [j for j in jobs if j.name not in publication.keep and j not in publication.delete]
    expire = tuple(j for j in rest if j.finished and not j.expires and not j.deleting)
    return Plan(
        create=publication.create,
        delete=(
            *(job for job in rest if not job.finished and not job.deleting),
            *publication.delete,
        ),
        expire=expire,
        ttl_seconds=_ttl_seconds(optimizers.resource, optimizers.settings) if expire else 0,
        status=_marked(status, optimizers, publication, now),
        requeue_after=publication.requeue_after,
    )


def _ttl_seconds(resource: Resource, settings: Settings) -> int:
    wanted = (resource.spec.get("execution") or {}).get("ttlSecondsAfterFinished")
    return wanted if isinstance(wanted, int) else settings.ttl_seconds_after_finished


def _marked(
    status: ModelOptimizationStatus,
    optimizers: Optimizers,
    publication: Publication,
    now: datetime,
) -> Json | None:
    """Return the status with Outdated, Published and the recommendation as they are now; None
    where nothing changes.

    What to serve is filled in where an older version wrote the status. All else stays as it was
    written, also by a newer version.
    """
    written = optimizers.resource.status
    said, changed = status.conditions, {}
    generation = status.observed_generation
    targets = [
        target if target.artifact else with_artifact(target, None, generation=generation, now=now)
        for target in publication.targets or _settled_targets(status, optimizers.resource)
    ]
    if targets != status.targets:
        changed["targets"] = [
            _served(old, was, new)
            for old, was, new in zip(written["targets"], status.targets, targets, strict=True)
        ]
        names = [target.name for target in targets]
        served = available(targets, names, said, status.history, generation=generation, now=now)
        said = _with(said, served)
    if publication.history is not None and publication.history != status.history:
        changed["history"] = [record.to_api() for record in publication.history]
    said = _with(said, publication.condition)
    marked = with_outdated(said, targets, optimizers, status, now=now)
    if marked != status.conditions:
        changed["conditions"] = [condition.to_api() for condition in marked]
    recommended = recommendation(optimizers.resource, targets, status, optimizers.settings)
    if recommended == status.recommendation:
        return written | changed if changed else None
    others = {name: value for name, value in written.items() if name != "recommendation"}
    return others | changed | ({"recommendation": recommended.to_api()} if recommended else {})


def _settled_targets(status: ModelOptimizationStatus, resource: Resource) -> list[TargetStatus]:
    """Return the targets of a settled status; an older version may have left what misses a gate."""
    return status.targets if all(map(is_proved, status.targets)) else held_all(status, resource)


def _served(written: Json, was: TargetStatus, new: TargetStatus) -> Json:
    """Return a target's status with what may change after its run; the rest as it was written."""
    if new.variants != was.variants or (was.artifact and not new.artifact):
        return {k: v for k, v in written.items() if k not in _VERDICT} | new.to_api()
    filled = {"artifact": new.artifact, "published": new.published}
    return written | {name: field.to_api() for name, field in filled.items() if field is not None}


def _with(conditions: list[Condition], new: Condition | None) -> list[Condition]:
    """Return conditions with a new one, if there is one, in the place of that of its type."""
    if new is None:
        return conditions
    if all(condition.type != new.type for condition in conditions):
        return [*conditions, new]
    return [new if condition.type == new.type else condition for condition in conditions]
