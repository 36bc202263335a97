"""The loop: take a key, observe, decide, act."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from mopt_operator.cluster.cache import Key, Store
from mopt_operator.config.logs import new_look
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import decide
from mopt_operator.decide.lookups import podless, queued, refusal, unread
from mopt_operator.decide.plan import Plan
from mopt_operator.errors import Conflict, OperatorError
from mopt_operator.objects import Held, Job, Raw, Resource, Snapshot
from mopt_operator.times import utc_now

from .creation_failures import CreationFailures
from .executor import Calls, Executor
from .metrics import Metrics
from .queue import WorkQueue
from .turns import Postponed, Turns

if TYPE_CHECKING:
    from .tracing import Traces

logger = logging.getLogger(__name__)


class Api(Calls, Protocol):
    """The API calls of the loop; see cluster.api."""

    async def failed_creations(self, namespace: str) -> list[Raw]: ...
    async def pods_of(self, job: Job) -> list[Raw]: ...
    async def workloads(self, job: Job) -> list[Raw]: ...


async def _unknown(_namespace: str) -> None:
    """Return that a namespace's labels are not known."""


class Reconciler:
    """Brings resources to the state that they ask for, one worker at a time for each.

    Args:
        labels: Returns a namespace's labels, where they are known.
    """

    def __init__(
        self,
        cluster: Api,
        settings: Settings,
        *,
        store: Store,
        queue: WorkQueue,
        turns: Turns | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], datetime] = utc_now,
        labels: Callable[[str], Awaitable[Mapping[str, str] | None]] = _unknown,
        traces: Traces | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._queue = queue
        self._turns = turns or Turns(settings, queue)
        self._metrics = metrics or Metrics(settings, store=store, queue=queue, turns=self._turns)
        self._clock = clock
        self._labels = labels
        self._creation_failures = CreationFailures(cluster)
        self._executor = Executor(
            cluster,
            store=store,
            refusals=self._turns.refusals,
            metrics=self._metrics,
            clock=clock,
            traces=traces,
        )
        self._news_seen = 0

    def use(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._turns.use(settings)
        self._executor.use(settings)

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
        fields = new_look(*key, known.generation if known else None)
        try:
            requeue_after = await self._reconcile_in_turn(key)
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

    async def _reconcile_in_turn(self, key: Key) -> float | None:
        """Reconcile a resource; one that fails lets the others go first."""
        try:
            return await self.reconcile(key)
        except Exception:
            self._turns.leave(key)
            raise

    async def reconcile(self, key: Key) -> float | None:
        """Do what a resource needs now.

        Returns:
            Seconds after which to reconcile again without an event; None for never.

        Raises:
            OperatorError: A call failed; a retry may help.
        """
        now = self._clock()
        self._turns.count_all(self._store, now)
        self._look_at_all_if_news()
        snapshot = self._store.snapshot(key)
        if snapshot is None:
            self._turns.gone(key)
            return None
        observe = partial(
            self._observe,
            key,
            now,
            warnings=await self._warnings(snapshot, now),
            held=await self._held(snapshot, now),
            namespace_labels=(
                await self._labels(key[0]) if self._settings.select_namespaces else None
            ),
        )
        if (snapshot := observe()) is None:
            return None
        plan = self._decide(snapshot, now)
        if plan.create and await self._read_late_pods(snapshot):
            if (snapshot := observe()) is None:
                return None
            plan = self._decide(snapshot, now)
        if not plan.create:
            self._turns.leave(key)
        created: list[str] = []
        if plan.create or plan.delete:
            postponed, created = await self._change_jobs(snapshot.resource, plan, now)
            # The status must speak of the Jobs that exist now.
            snapshot = observe(refusals=postponed.refusals, waits=postponed.waits)
            if snapshot is None:
                return None
            plan = self._decide(snapshot, now)
        await self._executor.record(snapshot.resource, plan, created)
        if plan.status is not None:
            # What follows from what is written now: its echo from the watch wakes nobody.
            self._queue.add(key)
        looks = [plan.requeue_after, self._turns.recorded(key, self._store, plan, now)]
        return min((look for look in looks if look is not None), default=None)

    def _observe(self, key: Key, now: datetime, **known: Any) -> Snapshot | None:
        """Return what is known around a resource, and count what its Jobs hold."""
        snapshot = self._store.snapshot(key, **known)
        return None if snapshot is None else self._turns.observe(snapshot, now)

    def _decide(self, snapshot: Snapshot, now: datetime) -> Plan:
        plan = decide(snapshot, now, self._settings)
        if plan.rerun_waits and self._turns.ask_to_rerun(snapshot.resource):
            plan = decide(replace(snapshot, may_rerun=True), now, self._settings)
        return plan

    async def _change_jobs(
        self, resource: Resource, plan: Plan, now: datetime
    ) -> tuple[Postponed, list[str]]:
        """Delete Jobs, and create those whose turn it is; return the others, and what is new."""
        key = (resource.namespace, resource.name)
        postponed = self._turns.ask(resource, plan.create)
        create = tuple(job for job in plan.create if job["metadata"]["name"] not in postponed)
        changes = None
        try:
            changes = await self._executor.change_jobs(resource, replace(plan, create=create))
        finally:
            created = changes is not None and len(changes.refusals) < len(create)
            self._turns.ended(key, self._store, now, created=created)
        return postponed.with_refusals(changes.refusals), changes.created

    def _look_at_all_if_news(self) -> None:
        """Queue all resources where one's result told of an image, node or data what was not
        known: the others' may differ."""
        if self._news_seen == self._store.learned.changes:
            return
        self._news_seen = self._store.learned.changes
        for resource in self._store.resources:
            self._queue.add((resource.namespace, resource.name), later=True)

    async def _warnings(self, snapshot: Snapshot, now: datetime) -> dict[str, str]:
        """Return why Jobs have no Pod, by their UIDs, where Events say so."""
        found = {}
        for job in podless(snapshot, now):
            messages = await self._creation_failures.of(job.namespace)
            if message := messages.get(job.uid):
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

    async def _held(self, snapshot: Snapshot, now: datetime) -> dict[str, Held]:
        """Return why Kueue does not admit Jobs, by their UIDs."""
        found = {}
        for job in queued(snapshot, now):
            if held := refusal(await self._cluster.workloads(job)):
                found[job.uid] = held
        return found
