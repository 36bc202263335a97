"""The loop: take a key, observe, decide, carry out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ..cluster.api import Cluster
from ..cluster.cache import Key, Kind, Store
from ..config.logs import about, about_resource
from ..config.settings import Settings
from ..decide.decide import Plan, decide
from ..decide.events import event, step_event
from ..decide.lookups import latest_message, podless, queued, refusal, unread
from ..errors import Conflict, NotFound, OperatorError, Refused
from ..objects import Job, Raw, Resource, Snapshot
from ..times import utc_now
from .metrics import Metrics
from .queue import WorkQueue

logger = logging.getLogger(__name__)


class Reconciler:
    """Brings resources towards what they ask for, each by one worker at a time."""

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        *,
        store: Store,
        queue: WorkQueue,
        metrics: Metrics | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._queue = queue
        self._metrics = metrics or Metrics(settings, store=store, queue=queue)
        self._clock = clock

    async def work(self) -> None:
        """Serve the queue until cancelled."""
        while True:
            key = await self._queue.get()
            try:
                with self._metrics.reconcile_seconds.time():
                    result = await self._attempt(key)
                self._metrics.reconciles.labels(result).inc()
            finally:
                self._queue.done(key)

    async def _attempt(self, key: Key) -> str:
        """Look at a resource once; return how it went, in the words of the metric."""
        known = self._store.resources.get(key)
        fields = about_resource(known) if known else about(*key)
        try:
            requeue_after = await self.reconcile(key)
        except Conflict as error:
            # Somebody was faster; the watch brings what is new, or already has.
            delay = self._queue.retry(key)
            logger.debug("Lost a race, again in %.1f s: %s", delay, error, extra=fields)
            return "conflict"
        except OperatorError as error:
            delay = self._queue.retry(key)
            logger.warning("Again in %.1f s: %s", delay, error, extra=fields)
            return "error"
        except Exception:
            # A fault of ours must not end the worker of all other resources.
            delay = self._queue.retry(key)
            logger.exception("Internal error, again in %.1f s", delay, extra=fields)
            return "fault"
        self._queue.succeeded(key)
        if requeue_after is not None:
            self._queue.add_after(key, requeue_after)
        return "done"

    async def reconcile(self, key: Key) -> float | None:
        """Do what is to be done for a resource now.

        Returns:
            Seconds after which to come back without an event; None for never.

        Raises:
            OperatorError: A call failed; the same again may help.
        """
        snapshot = self._store.snapshot(key)
        if snapshot is None:
            return None
        now = self._clock()
        asked: dict[str, Any] = {
            "warnings": await self._warnings(snapshot, now),
            "held": await self._held(snapshot, now),
        }
        snapshot = self._store.snapshot(key, **asked)
        if snapshot is None:
            return None
        plan = decide(snapshot, now, self._settings)
        if plan.create and await self._read_late_pods(snapshot):
            snapshot = self._store.snapshot(key, **asked)
            if snapshot is None:
                return None
            plan = decide(snapshot, now, self._settings)
        for job in plan.delete:
            await self._delete(snapshot.resource, job)
        refusals = await self._create(snapshot.resource, plan)
        if plan.create or plan.delete:
            # The status is to tell of the Jobs that there are now.
            snapshot = self._store.snapshot(key, refusals=refusals, **asked)
            if snapshot is None:
                return None
            plan = decide(snapshot, now, self._settings)
        if plan.status is not None:
            await self._write_status(snapshot.resource, plan.status)
        for job in plan.expire:
            await self._expire(snapshot.resource, job, plan.ttl_seconds)
        return plan.requeue_after

    async def _warnings(self, snapshot: Snapshot, now: datetime) -> dict[str, str]:
        """Return why Jobs have no Pod, by their UIDs, where their Events tell."""
        found = {}
        for job in podless(snapshot, now):
            if message := latest_message(await self._cluster.failed_creations(job)):
                found[job.uid] = message
        return found

    async def _read_late_pods(self, snapshot: Snapshot) -> bool:
        """Ask for the Pods of complete Jobs that the watch has not shown; tell whether any came.

        Else a Job would be made again because the watch of Pods is late.
        """
        found = [raw for job in unread(snapshot) for raw in await self._cluster.pods_of(job)]
        for raw in found:
            self._store.pods.put_answer(raw)
        return bool(found)

    async def _held(self, snapshot: Snapshot, now: datetime) -> dict[str, str]:
        """Return why Kueue does not admit Jobs, by their UIDs."""
        found = {}
        for job in queued(snapshot, now):
            if message := refusal(await self._cluster.workloads(job)):
                found[job.uid] = message
        return found

    async def _delete(self, resource: Resource, job: Job) -> None:
        fields = about_resource(resource)
        try:
            await self._cluster.delete_job(job)
        except (NotFound, Conflict) as error:
            logger.debug("Job %s is gone already: %s", job.name, error, extra=fields)
        else:
            logger.info("Deleted Job %s", job.name, extra=fields)
        self._store.jobs.forget(job)

    async def _create(self, resource: Resource, plan: Plan) -> dict[str, tuple[int, str]]:
        """Create Jobs; return status and message of those that the API server refuses."""
        refusals = {}
        for manifest in plan.create:
            name = manifest["metadata"]["name"]
            try:
                job = await self._create_one(resource, manifest)
            except Refused as error:
                refusals[name] = (error.status, error.message)
                logger.warning("Job %s is refused: %s", name, error, extra=about_resource(resource))
            else:
                self._store.jobs.put_answer(job)
        return refusals

    async def _create_one(self, resource: Resource, manifest: Mapping[str, Any]) -> Raw:
        """Create a Job, or find that it is there."""
        name = manifest["metadata"]["name"]
        try:
            job = await self._cluster.create_job(manifest)
        except Conflict as error:
            return await self._existing(resource, name, error)
        message = f"Created Job {name}"
        logger.info(message, extra=about_resource(resource))
        now = self._clock()
        told = event(resource, reason="JobCreated", message=message, normal=True, now=now)
        await self._tell(resource, told)
        return job

    async def _existing(self, resource: Resource, name: str, conflict: Conflict) -> Raw:
        """Return the Job that is there already: ours, by its deterministic name.

        Raises:
            Conflict: It is being deleted.
            Refused: It is somebody else's.
        """
        job = await self._cluster.read_job(resource.namespace, name)
        metadata: Mapping[str, Any] = job["metadata"]
        if "deletionTimestamp" in metadata:
            raise conflict
        if not any(owner["uid"] == resource.uid for owner in metadata.get("ownerReferences") or ()):
            words = f"a Job named {name} is there that is not mopt's; delete it"
            raise Refused(403, conflict.reason, words)
        return job

    async def _write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        written = await self._cluster.write_status(resource, status)
        self._store.resources.put_answer(written)
        if step := step_event(resource, status, self._clock()):
            logger.info("%s: %s", step["reason"], step["message"], extra=about_resource(resource))
            await self._tell(resource, step)

    async def _expire(self, resource: Resource, job: Job, seconds: int) -> None:
        try:
            kept = await self._cluster.expire_job(job, seconds)
        except (NotFound, Conflict) as error:
            fields = about_resource(resource)
            logger.debug("Job %s is gone already: %s", job.name, error, extra=fields)
        else:
            self._store.jobs.put_answer(kept)
            self._metrics.job_ended(job, self._clock())

    async def _tell(self, resource: Resource, told: Mapping[str, Any]) -> None:
        """Create an Event. It is a courtesy: that it cannot be told stops nothing."""
        try:
            await self._cluster.create_event(told)
        except Conflict as error:
            logger.debug("Told before: %s", error, extra=about_resource(resource))
        except OperatorError as error:
            fields = about_resource(resource)
            logger.warning("Cannot create the Event %s: %s", told["reason"], error, extra=fields)

    async def resync(self, namespaces: list[str]) -> None:
        """Compare the store with the cluster: a watch that starts anew misses deletions.

        Args:
            namespaces: Empty for the whole cluster.

        Raises:
            OperatorError: A call failed.
        """
        store, cluster = self._store, self._cluster
        everywhere: list[str | None] = [None]
        for namespace in namespaces or everywhere:
            await self._compare(store.resources, await cluster.list_resources(namespace), namespace)
            await self._compare(store.jobs, await cluster.list_jobs(namespace), namespace)
            await self._compare(store.pods, await cluster.list_pods(namespace), namespace)

    async def _compare(self, kind: Kind[Any], listed: Raw, namespace: str | None) -> None:
        version = listed["metadata"]["resourceVersion"]
        for key in kind.replace(listed["items"], version, namespace):
            self._metrics.missed.inc()
            self._queue.add(key)
