"""Carries out what was decided: Jobs, status, Events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from mopt_operator.cluster.cache import Store
from mopt_operator.config.logs import about_resource
from mopt_operator.config.settings import Settings
from mopt_operator.decide.events import event, publish_event, step_event
from mopt_operator.decide.job_figures import job_figures
from mopt_operator.decide.plan import Plan
from mopt_operator.errors import (
    MAY_PASS,
    Conflict,
    NotFound,
    OperatorError,
    Refused,
    TooManyRequests,
)
from mopt_operator.objects import SELECTOR, Job, Raw, Resource, is_selected

from .metrics import Metrics
from .refusals import Refusals

if TYPE_CHECKING:
    from .tracing import Traces

logger = logging.getLogger(__name__)


class _Unusable(Refused):
    """What has the Job's name cannot be used; that says nothing of other Jobs."""


def _watched(job: Raw) -> Raw:
    """Return a Job that the watch shows.

    Raises:
        _Unusable: It lacks the label that the watch selects by.
    """
    if is_selected(job):
        return job
    message = (
        f"Job {job['metadata']['name']} has lost its label {SELECTOR}, without which mopt cannot "
        "see it: exempt Jobs with that label from the admission webhook or policy that removes "
        "it, and delete the Job"
    )
    raise _Unusable(403, "Forbidden", message)


class Calls(Protocol):
    """The API calls of a plan; see cluster.api."""

    async def create_job(self, manifest: Raw) -> Raw: ...
    async def read_job(self, namespace: str, name: str) -> Raw: ...
    async def delete_job(self, job: Job) -> None: ...
    async def expire_job(self, job: Job, seconds: int) -> Raw: ...
    async def write_status(self, resource: Resource, status: Raw) -> Raw: ...
    async def create_event(self, event: Raw) -> None: ...


@dataclass(frozen=True)
class Changes:
    """What came of Jobs that were to be created.

    Attributes:
        created: Names of new ones.
        refusals: Status and message of those that the API server rejects, by their names.
    """

    created: list[str] = field(default_factory=list)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)


class Executor:
    """Makes the calls of a plan and puts their answers into the store."""

    def __init__(
        self,
        cluster: Calls,
        *,
        store: Store,
        refusals: Refusals,
        metrics: Metrics,
        clock: Callable[[], datetime],
        traces: Traces | None = None,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._refusals = refusals
        self._metrics = metrics
        self._clock = clock
        self._traces = traces

    def use(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        if self._traces:
            self._traces.use(settings)

    async def change_jobs(self, resource: Resource, plan: Plan) -> Changes:
        """Delete and create Jobs; return what came of it.

        Raises:
            OperatorError: A call failed; a retry may help.
        """
        for job in plan.delete:
            await self._delete(resource, job)
        changes = Changes()
        try:
            await self._create(resource, plan, changes)
        except OperatorError:
            await self._announce_jobs(resource, changes.created)
            raise
        return changes

    async def record(self, resource: Resource, plan: Plan, created: Iterable[str] = ()) -> None:
        """Write the status; let the Jobs whose results it holds expire.

        Args:
            created: Jobs that were created just now; the Event of the step that begins with them
                names them, and any other one has an Event of its own.

        Raises:
            OperatorError: A call failed; a retry may help.
        """
        said = ""
        try:
            if plan.status is not None:
                said = await self._write_status(resource, plan.status)
        finally:
            await self._announce_jobs(resource, (name for name in created if name not in said))
        for job in plan.expire:
            await self._expire(resource, job, plan.ttl_seconds)

    async def _delete(self, resource: Resource, job: Job) -> None:
        fields = about_resource(resource)
        try:
            await self._cluster.delete_job(job)
        except (NotFound, Conflict) as error:
            logger.debug("Job %s is gone already: %s", job.name, error, extra=fields)
        else:
            logger.info("Deleted Job %s", job.name, extra=fields)
            if not job.expires:
                self._metrics.job_deleted(job)
                if self._traces:
                    self._traces.job_deleted(resource, job, self._clock())
        self._store.jobs.forget(job)

    async def _create(self, resource: Resource, plan: Plan, changes: Changes) -> None:
        """Create Jobs; note those, and those that the API server rejects."""
        key, refusals = (resource.namespace, resource.name), changes.refusals
        for manifest in plan.create:
            name = manifest["metadata"]["name"]
            refusals.update(self._refusals.hold(key, [name]))
            if name in refusals:
                continue
            try:
                job = await self._create_one(resource, manifest, changes)
            except (Refused, TooManyRequests) as error:
                refusals[name] = (error.status, error.message)
                if error.status in MAY_PASS:
                    alone = isinstance(error, _Unusable)
                    self._refusals.refused(key, name, error.status, error.message, alone=alone)
                logger.warning(
                    "Job %s is rejected: %s", name, error, extra=about_resource(resource)
                )
            else:
                self._store.jobs.put_answer(job)

    async def _create_one(self, resource: Resource, manifest: Raw, changes: Changes) -> Raw:
        """Create a Job, or return the one that exists already.

        Raises:
            Refused: It is not what mopt creates, or what its watch shows.
            TooManyRequests: The API server has too much to do.
        """
        name = manifest["metadata"]["name"]
        try:
            job = await self._cluster.create_job(manifest)
        except Conflict as error:
            return _watched(await self._existing(resource, name, error))
        _watched(job)
        logger.info("Created Job %s", name, extra=about_resource(resource))
        changes.created.append(name)
        return job

    async def _existing(self, resource: Resource, name: str, conflict: Conflict) -> Raw:
        """Return the Job that exists already, of the same deterministic name.

        Raises:
            Conflict: It is being deleted.
            _Unusable: It does not belong to the resource.
        """
        job = await self._cluster.read_job(resource.namespace, name)
        metadata: Raw = job["metadata"]
        if "deletionTimestamp" in metadata:
            raise conflict
        if not any(owner["uid"] == resource.uid for owner in metadata.get("ownerReferences") or ()):
            message = f"a Job named {name} exists that does not belong to mopt; delete it"
            raise _Unusable(403, conflict.reason, message)
        return job

    async def _write_status(self, resource: Resource, status: Raw) -> str:
        """Write the status; return the message of the Event of its step, empty for none."""
        written = await self._cluster.write_status(resource, status)
        self._store.resources.put_answer(written)
        now = self._clock()
        if self._traces:
            self._traces.status_written(resource, status, now)
        step = step_event(resource, status, now)
        for said in filter(None, (step, publish_event(resource, status, now))):
            logger.info("%s: %s", said["reason"], said["message"], extra=about_resource(resource))
            await self._announce(resource, said)
        return "" if step is None else str(step["message"])

    async def _expire(self, resource: Resource, job: Job, seconds: int) -> None:
        try:
            kept = await self._cluster.expire_job(job, seconds)
        except (NotFound, Conflict) as error:
            fields = about_resource(resource)
            logger.debug("Job %s is gone already: %s", job.name, error, extra=fields)
        else:
            self._store.jobs.put_answer(kept)
            pods = self._store.pods.of((resource.namespace, resource.name))
            now = self._clock()
            self._metrics.job_ended(job, pods, now)
            if self._traces:
                self._traces.job_ended(resource, job, job_figures(job, pods, now), now)

    async def _announce_jobs(self, resource: Resource, names: Iterable[str]) -> None:
        for name in names:
            made = event(
                resource,
                reason="JobCreated",
                message=f"Created Job {name}",
                normal=True,
                now=self._clock(),
            )
            await self._announce(resource, made)

    async def _announce(self, resource: Resource, announced: Raw) -> None:
        """Create an Event. Nothing depends on it: a failure is only logged."""
        try:
            await self._cluster.create_event(announced)
        except Conflict as error:
            logger.debug("Event exists already: %s", error, extra=about_resource(resource))
        except OperatorError as error:
            fields = about_resource(resource)
            logger.warning(
                "Cannot create the Event %s: %s", announced["reason"], error, extra=fields
            )
