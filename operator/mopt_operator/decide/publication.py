"""What becomes of publishing what was selected: the condition Published, and its Jobs. Pure.

Whether something is to be published follows from status alone: from what is to be served and what
was published. The run is over by then and stays so: Ready does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from mopt_api.base import APPROVE_ANNOTATION, PLURAL
from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import PublishSummary
from mopt_api.publishing import (
    APPROVE_SEPARATOR,
    Publish,
    Published,
    PublishPolicy,
    approved,
    reference,
)
from mopt_api.reasons import REASONS, Reason
from mopt_api.status import (
    Condition,
    ConditionType,
    ModelOptimizationStatus,
    SelectionRecord,
    TargetStatus,
)
from mopt_operator.config.settings import Settings
from mopt_operator.objects import Job, Resource, Snapshot
from mopt_operator.times import timestamp

from .asked import read_asked
from .conditions import is_true, lasting
from .failures import Problem
from .history import with_published
from .jobs import Manifest, build_job
from .publish_work import Order, order_of, publish_work
from .request import InvalidRequest, Request
from .track import Track, follow, publishes
from .work import WorkItem, job_namer

STAGE = Stage.PUBLISH.lower()
# Between a Job that failed and the next one; the pause doubles with each.
FIRST_PAUSE_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 600.0
# Permanent to a run, where Jobs are lost by chance; publishing is tried again.
_MAY_PASS = frozenset({Reason.DISRUPTED, Reason.JOB_FAILED, Reason.DEADLINE_EXCEEDED})


@dataclass(frozen=True)
class Publication:
    """What is to be done for publishing, and what status says of it.

    Attributes:
        condition: Published; None where nothing is to be published.
        targets, history: Of status; None where they stay as they are.
        create, delete: Jobs.
        keep: Names of Jobs that are part of it, finished or not.
        requeue_after: Seconds after which to look again without an event.
    """

    condition: Condition | None = None
    targets: list[TargetStatus] | None = None
    history: list[SelectionRecord] | None = None
    create: tuple[Manifest, ...] = ()
    delete: tuple[Job, ...] = ()
    keep: frozenset[str] = frozenset()
    requeue_after: float | None = None


class _Standing(NamedTuple):
    """Reason and message of Published, which is True for one reason."""

    reason: Reason
    message: str

    def condition(
        self, previous: Sequence[Condition], resource: Resource, now: datetime
    ) -> Condition:
        return lasting(
            ConditionType.PUBLISHED,
            self.reason,
            status=str(self.reason is Reason.PUBLISHED),
            message=self.message,
            previous=previous,
            generation=resource.generation,
            now=now,
        )


def is_to_publish(resource: Resource) -> bool:
    """Tell whether a resource asks for publishing; its spec need not be valid."""
    return bool(resource.spec.get("publish"))


def published_during_run(
    request: Request | None,
    resource: Resource,
    settings: Settings,
    targets: Sequence[TargetStatus],
    previous: Sequence[Condition],
    *,
    ready: bool,
    now: datetime,
) -> Condition | None:
    """Return the condition Published that a run's status has; None where none is asked for.

    Args:
        request: None where it is not valid.
        targets: Those that status is going to show.
        previous: Conditions so far.
        ready: The run ends with this, well.
    """
    if not is_to_publish(resource):
        return None
    if request is None or request.spec.publish is None:
        said = _Standing(Reason.INVALID_SPEC, "The resource is not valid: see Ready")
        return said.condition(previous, resource, now)
    order = order_of(request.spec.publish, request, targets, settings)
    standing = _standing(request.spec.publish, order, request, resource, targets, ready=ready)
    said = standing or _Standing(Reason.PUBLISHING, _publishing(request.spec.publish))
    return said.condition(previous, resource, now)


def published_after_run(
    status: ModelOptimizationStatus, snapshot: Snapshot, settings: Settings, now: datetime
) -> Publication:
    """Return what is to be done for publishing once the run is over.

    Args:
        snapshot: Only with Jobs that the resource owns.
    """
    resource = snapshot.resource
    if not is_to_publish(resource):
        return Publication()
    try:
        request = read_asked(resource, settings).request
    except InvalidRequest as error:
        said = _Standing(Reason.INVALID_SPEC, str(error))
        return Publication(said.condition(status.conditions, resource, now))
    publish = request.spec.publish
    if publish is None:
        return Publication()
    order = order_of(publish, request, status.targets, settings)
    ready = is_true(status, ConditionType.READY)
    standing = _standing(publish, order, request, resource, status.targets, ready=ready)
    if standing is not None or order is None:
        condition = standing.condition(status.conditions, resource, now) if standing else None
        return Publication(condition)
    work = publish_work(order, request, resource, settings)
    return _Attempts(order, work, snapshot, settings, status, now).publication()


def _standing(
    publish: Publish,
    order: Order | None,
    request: Request,
    resource: Resource,
    targets: Sequence[TargetStatus],
    *,
    ready: bool,
) -> _Standing | None:
    """Return how publishing stands where nothing is to be done now; None where something is."""
    if order is not None and order.is_done(targets):
        return _Standing(Reason.PUBLISHED, _published(targets, order))
    if not ready:
        text = "What the run selects is published once it has ended with Ready=True"
        return _Standing(Reason.NOTHING_SELECTED, text)
    if order is None:
        text = "There is no form to serve: targets whose profile is buildOnly select none"
        return _Standing(Reason.NOTHING_SELECTED, text)
    if request.spec.execution.suspend:
        text = "Suspended: set spec.execution.suspend to false to publish"
        return _Standing(Reason.SUSPENDED, text)
    if publish.policy is PublishPolicy.MANUAL and not approved(resource.approved) >= {
        *order.digests
    }:
        return _Standing(Reason.AWAITING_APPROVAL, _to_approve(order, resource))
    return None


def _to_approve(order: Order, resource: Resource) -> str:
    digests = APPROVE_SEPARATOR.join(order.digests)
    return (
        f"Selected; to publish it: kubectl annotate --overwrite {PLURAL} {resource.name} "
        f"-n {resource.namespace} {APPROVE_ANNOTATION}={digests}"
    )


def _published(targets: Sequence[TargetStatus], order: Order) -> str:
    known = {target.name: target.published for target in targets}
    first = next(filter(None, (known.get(form.target) for form in order.forms)), None)
    said = f"{first.index} as {', '.join(first.tags)}" if first else ""
    return ". ".join([said, *_replaced(targets, order)])


def _replaced(targets: Sequence[TargetStatus], order: Order) -> list[str]:
    """Return what is published in place of what was selected, and why."""
    selected = {t.name: t.artifact.variant for t in targets if t.artifact}
    layout = order.publish.oci.layout
    return [
        f"{form.target}: {form.variant} in place of {selected.get(form.target)}, which no server "
        f"loads from a {layout}"
        for form in order.forms
        if form.target in order.replaced
    ]


def _publishing(publish: Publish) -> str:
    return f"Publishing to {publish.oci.repository}"


class _Attempts:
    """The Jobs that publish one order: one at a time, until one succeeds.

    The number of a Job's attempt is in its annotation and its name; one that failed stays until
    the next one has ended, for its reason and for the length of the pause after it.
    """

    def __init__(
        self,
        order: Order,
        work: WorkItem,
        snapshot: Snapshot,
        settings: Settings,
        status: ModelOptimizationStatus,
        now: datetime,
    ) -> None:
        self._order = order
        self._work = work
        self._snapshot = snapshot
        self._settings = settings
        self._status = status
        self._now = now
        self._name: Callable[[int], str] = job_namer(work, snapshot.resource, settings)
        jobs = (job for job in snapshot.jobs if job.stage == STAGE and not job.deleting)
        self._jobs = sorted(
            (job for job in jobs if job.name == self._name(job.attempt)), key=lambda j: j.attempt
        )

    def publication(self) -> Publication:
        """Return what is to be done."""
        if not self._jobs:
            return self._next(0, None)
        last = self._jobs[-1]
        track = self._follow(last.attempt)
        if isinstance(track.outcome, PublishSummary):
            return self._done(track.outcome)
        if not (track.over and last.finished):
            return self._at_work(last.attempt, track, self._failure_before(last))
        failed = track.problem or Problem(Reason.JOB_FAILED, f"Job {last.name} failed")
        if _is_final(failed.reason):
            text = f"{failed.message} It is not tried again: once solved, delete Job {last.name}"
            return self._found(_Standing(failed.reason, f"{text}."), keep=(last.attempt,))
        left = (
            pause_seconds(last.attempt) - (self._now - (last.ended or last.created)).total_seconds()
        )
        if left <= 0:
            return self._next(last.attempt + 1, failed)
        said = _Standing(failed.reason, failed.message)
        left = min(left, LONGEST_PAUSE_SECONDS)
        return self._found(said, keep=(last.attempt,), requeue_after=left)

    def _follow(self, attempt: int) -> Track:
        targets = [form.target for form in self._order.forms]
        return follow((self._name(attempt),), self._snapshot, self._now, publishes(targets))

    def _failure_before(self, job: Job) -> Problem | None:
        """Return why the attempt before failed, where it is still there."""
        before = [other.attempt for other in self._jobs if other.attempt < job.attempt]
        return self._follow(before[-1]).problem if before else None

    def _next(self, attempt: int, failed: Problem | None) -> Publication:
        """Return the next attempt, where it may be made."""
        track = self._follow(attempt)
        found = self._at_work(attempt, track, failed)
        if track.create is None:
            return found
        manifest = build_job(self._work, self._snapshot.resource, self._settings, attempt=attempt)
        return replace(found, create=(manifest,))

    def _at_work(self, attempt: int, track: Track, failed: Problem | None) -> Publication:
        """Return what is said of an attempt that has not ended.

        Args:
            failed: Why the one before did: so it says until one succeeds.
        """
        wrong = track.problem or failed
        notes = filter(None, [_publishing(self._order.publish), track.note, self._waits_for(track)])
        said = _Standing(Reason.PUBLISHING, ". ".join(notes))
        if wrong is not None:
            said = _Standing(wrong.reason, wrong.message)
        kept = [job.attempt for job in self._jobs if job.attempt < attempt][-1:]
        found = self._found(said, keep=(*kept, attempt), requeue_after=track.requeue_after)
        lost = tuple(filter(None, [track.job if track.lost else None]))
        return replace(found, delete=(*found.delete, *lost))

    def _waits_for(self, track: Track) -> str:
        """Return what a Pod may wait for that does not start; nobody but the kubelet sees it."""
        if track.blocked is None or track.job is None or not self._work.files:
            return ""
        files = " and ".join(f"{file.secret} (key {file.key})" for file in self._work.files)
        return f"It mounts the Secrets {files}"

    def _found(
        self, said: _Standing, *, keep: Sequence[int], requeue_after: float | None = None
    ) -> Publication:
        names = frozenset(map(self._name, keep))
        return Publication(
            said.condition(self._status.conditions, self._snapshot.resource, self._now),
            delete=tuple(job for job in self._jobs if job.name not in names),
            keep=names,
            requeue_after=requeue_after,
        )

    def _done(self, summary: PublishSummary) -> Publication:
        """Return what status says of an order that was carried out."""
        oci, digests = self._order.publish.oci, {i.target: i.digest for i in summary.images}
        published = {
            form.target: Published(
                reference=reference(oci.repository, digests[form.target]),
                index=reference(oci.repository, summary.index),
                tags=oci.tags,
                signed=summary.signed,
                artifact=form.artifact,
                variant=form.variant,
                instead_of=self._order.replaced.get(form.target),
                key=self._order.key,
                time=timestamp(self._now),
            )
            for form in self._order.forms
        }
        targets = [
            target.model_copy(update={"published": published[target.name]})
            if target.name in published
            else target
            for target in self._status.targets
        ]
        said = _Standing(Reason.PUBLISHED, _published(targets, self._order))
        return Publication(
            said.condition(self._status.conditions, self._snapshot.resource, self._now),
            targets=targets,
            history=with_published(self._status.history, targets),
            delete=tuple(self._jobs[:-1]),
        )


def pause_seconds(attempt: int) -> float:
    """Return how long after a failure the next attempt is made."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 10), LONGEST_PAUSE_SECONDS)


def _is_final(reason: Reason) -> bool:
    """Tell whether the same Job would fail again."""
    return REASONS[reason].permanent and reason not in _MAY_PASS
