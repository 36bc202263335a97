"""What a resource may not do yet, because of what all the others do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from mopt_operator.cluster.cache import Key, Store
from mopt_operator.config.settings import Settings, UpgradePolicy
from mopt_operator.decide.admission import Holding, held_by
from mopt_operator.decide.outdated import is_rerunning
from mopt_operator.decide.plan import Plan
from mopt_operator.objects import Raw, Resource, Snapshot

from .queue import WorkQueue
from .refusals import Refusals
from .reruns import Reruns
from .slots import Slots


@dataclass(frozen=True)
class Postponed:
    """Jobs that are not to be created now, by their names.

    Attributes:
        refusals: Status and message of the API server's refusal.
        waits: Why they wait.
    """

    refusals: Mapping[str, tuple[int, str]]
    waits: Mapping[str, str]

    def __contains__(self, job: str) -> bool:
        return job in self.refusals or job in self.waits

    def with_refusals(self, refusals: Mapping[str, tuple[int, str]]) -> Postponed:
        """Return these and Jobs that were refused just now."""
        return replace(self, refusals={**self.refusals, **refusals})


class Turns:
    """The order in which resources come to create Jobs.

    Attributes:
        slots: Of what the administrator bounds.
        refusals: Of the API server.
    """

    def __init__(
        self, settings: Settings, queue: WorkQueue, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self.slots = Slots(settings, queue.add)
        self.refusals = Refusals(queue.add_after, clock=clock)
        self._reruns = Reruns(settings.on_upgrade.max_concurrent, queue.add)
        self._counted = False

    def use(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self.slots.use(settings)

    def count_all(self, store: Store, now: datetime) -> None:
        """Count once what runs already, before the first Job is granted."""
        if self._counted:
            return
        self._counted = True
        at_work = {(job.namespace, job.owner_name) for job in store.jobs if not job.finished}
        for key in sorted(at_work):
            self._count(key, store, now)
        for resource in store.resources:
            self._note_rerun((resource.namespace, resource.name), store)

    def observe(self, snapshot: Snapshot, now: datetime) -> Snapshot:
        """Count what a resource's Jobs hold; return the snapshot with what the others' mean to it.

        Whether it may be made again is asked for when it wants to: see `ask_to_rerun`.
        """
        resource = snapshot.resource
        key = (resource.namespace, resource.name)
        held = held_by(resource.uid, snapshot.jobs, snapshot.pods, now, self._settings)
        self.slots.observe(key, held)
        return replace(
            snapshot,
            crowded=self.slots.crowded(key),
            nodes=tuple(self.slots.nodes()),
            may_rerun=False,
        )

    def ask_to_rerun(self, resource: Resource) -> bool:
        """Tell whether a resource may be made again now; otherwise it is woken when it may."""
        return self._reruns.ask(resource)

    def ask(self, resource: Resource, jobs: Iterable[Raw]) -> Postponed:
        """Return the Jobs of a resource that are not to be created now."""
        key, wanted = (resource.namespace, resource.name), list(jobs)
        refusals = self.refusals.hold(key, (job["metadata"]["name"] for job in wanted))
        rest = [job for job in wanted if job["metadata"]["name"] not in refusals]
        return Postponed(refusals, self.slots.ask(resource, rest))

    def ended(self, key: Key, store: Store, now: datetime, *, created: bool) -> None:
        """Note how things stand after a resource's Jobs were created and deleted."""
        self.refusals.tried(key, created=created)
        self._count(key, store, now)

    def recorded(self, key: Key, store: Store, plan: Plan, now: datetime) -> float | None:
        """Note what a resource's status says now; return in how many seconds to look again."""
        self._note_rerun(key, store, waiting=plan.rerun_waits)
        until = self.slots.next_look(key)
        return None if until is None else max(0.0, (until - now).total_seconds())

    def leave(self, key: Key) -> None:
        """Forget a resource that wants to create nothing, or cannot at the moment."""
        self.slots.withdraw(key)
        self.refusals.leave(key)

    def gone(self, key: Key) -> None:
        """Forget a resource that is deleted."""
        self.leave(key)
        self.slots.observe(key, Holding())
        self._reruns.observe(key, running=False)

    def _count(self, key: Key, store: Store, now: datetime) -> None:
        resource, held = store.resources.get(key), Holding()
        if resource is not None:
            jobs, pods = store.jobs.of(key), store.pods.of(key)
            held = held_by(resource.uid, jobs, pods, now, self._settings)
        self.slots.observe(key, held)

    def _note_rerun(self, key: Key, store: Store, *, waiting: bool = False) -> None:
        if self._settings.on_upgrade.policy is UpgradePolicy.KEEP:
            return
        known = store.resources.get(key)
        # Most are Ready, and need not be unpacked.
        running = (
            known is not None
            and known.ready[0] != "True"
            and is_rerunning(known.unpack(), self._settings)
        )
        self._reruns.observe(key, running=running, waiting=waiting)
