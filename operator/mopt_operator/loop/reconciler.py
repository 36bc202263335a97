"""The loop: take a key, observe, decide, act."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Protocol

from mopt_operator.cluster.cache import Key, Store
from mopt_operator.config.logs import about, about_resource
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import decide
from mopt_operator.decide.lookups import latest_message, podless, queued, refusal, unread
from mopt_operator.errors import Conflict, OperatorError
from mopt_operator.objects import Job, Raw, Snapshot
from mopt_operator.times import utc_now

from .executor import Calls, Executor
from .metrics import Metrics
from .queue import WorkQueue

logger = logging.getLogger(__name__)


class Api(Calls, Protocol):
    """The API calls of the loop; see cluster.api."""

    async def failed_creations(self, job: Job) -> list[Raw]: ...
    async def pods_of(self, job: Job) -> list[Raw]: ...
    async def workloads(self, job: Job) -> list[Raw]: ...


class Reconciler:
    """Brings resources to the state that they ask for, one worker at a time for each."""

    def __init__(
        self,
        cluster: Api,
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
        self._executor = Executor(cluster, store=store, metrics=self._metrics, clock=clock)
        self._versions_seen = 0

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
        """Reconcile a resource once; return the result as the metric names it."""
        known = self._store.resources.get(key)
        fields = about_resource(known) if known else about(*key)
        try:
            requeue_after = await self.reconcile(key)
        except Conflict as error:
            # The object changed meanwhile; the watch shows the change, or already has.
            delay = self._queue.retry(key)
            logger.debug("Conflict, retrying in %.1f s: %s", delay, error, extra=fields)
            return "conflict"
        except OperatorError as error:
            delay = self._queue.retry(key)
            logger.warning("Retrying in %.1f s: %s", delay, error, extra=fields)
            return "error"
        except Exception:
            # A bug must not end a worker that all other resources need.
            delay = self._queue.retry(key)
            logger.exception("Internal error, retrying in %.1f s", delay, extra=fields)
            return "fault"
        self._queue.succeeded(key)
        if requeue_after is not None:
            self._queue.add_after(key, requeue_after)
        return "done"

    async def reconcile(self, key: Key) -> float | None:
        """Do what a resource needs now.

        Returns:
            Seconds after which to reconcile again without an event; None for never.

        Raises:
            OperatorError: A call failed; a retry may help.
        """
        self._look_at_all_if_images_changed()
        snapshot = self._store.snapshot(key)
        if snapshot is None:
            return None
        now = self._clock()
        observe = partial(
            self._store.snapshot,
            key,
            warnings=await self._warnings(snapshot, now),
            held=await self._held(snapshot, now),
        )
        snapshot = observe()
        if snapshot is None:
            return None
        plan = decide(snapshot, now, self._settings)
        if plan.create and await self._read_late_pods(snapshot):
            snapshot = observe()
            if snapshot is None:
                return None
            plan = decide(snapshot, now, self._settings)
        refusals = await self._executor.change_jobs(snapshot.resource, plan)
        if plan.create or plan.delete:
            # The status must speak of the Jobs that exist now.
            snapshot = observe(refusals=refusals)
            if snapshot is None:
                return None
            plan = decide(snapshot, now, self._settings)
        await self._executor.record(snapshot.resource, plan)
        if plan.status is not None:
            # What follows from what is written now: its echo from the watch wakes nobody.
            self._queue.add(key)
        return plan.requeue_after

    def _look_at_all_if_images_changed(self) -> None:
        """Queue all resources where one's result told what an image holds: others may differ."""
        if self._versions_seen == self._store.versions.changes:
            return
        self._versions_seen = self._store.versions.changes
        for resource in self._store.resources:
            self._queue.add((resource.namespace, resource.name))

    async def _warnings(self, snapshot: Snapshot, now: datetime) -> dict[str, str]:
        """Return why Jobs have no Pod, by their UIDs, where Events say so."""
        found = {}
        for job in podless(snapshot, now):
            if message := latest_message(await self._cluster.failed_creations(job)):
                found[job.uid] = message
        return found

    async def _read_late_pods(self, snapshot: Snapshot) -> bool:
        """Read the Pods of complete Jobs that the watch has not shown; tell whether there are any.

        Otherwise a Job would be created again because the watch of Pods is late.
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
