"""The loop around decide(): what it does with races, refusals, faults and gaps in the watches."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from operator_world import MakeManifest

from mopt_operator.cluster.cache import Store
from mopt_operator.config.settings import Settings
from mopt_operator.decide.lookups import latest_messages
from mopt_operator.errors import Conflict, NotFound, Refused, Unreachable
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.reconciler import Reconciler
from mopt_operator.loop.refusals import LONGEST_SECONDS
from mopt_operator.loop.turns import Turns
from mopt_operator.objects import Job, Raw, Resource
from mopt_operator.told import Seen

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = ("team", "sr")

Json = dict[str, Any]


class Clock:
    """A clock that is set."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class FakeCluster:
    """An API server of one resource; `fail` makes a call raise once."""

    def __init__(self, resource: Json) -> None:
        self.resource = resource
        self.jobs: dict[str, Json] = {}
        self.told: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.relabel: dict[str, str] | None = None  # What a webhook makes of a Job's labels.
        self._version = 10

    def _called(self, name: str) -> None:
        if error := self.fail.pop(name, None):
            raise error

    def _versioned(self) -> Json:
        self._version += 1
        return {"resourceVersion": str(self._version)}

    async def create_job(self, manifest: Mapping[str, Any]) -> Raw:
        self._called("create_job")
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            raise Conflict(409, "AlreadyExists", name)
        job = copy.deepcopy(dict(manifest))
        job["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": NOW.isoformat()}
        job["metadata"] |= self._versioned()
        if self.relabel is not None:
            job["metadata"]["labels"] = self.relabel
        self.jobs[name] = job
        return job

    async def read_job(self, namespace: str, name: str) -> Raw:
        return self.jobs[name]

    async def delete_job(self, job: Job) -> None:
        self._called("delete_job")
        if self.jobs.pop(job.name, None) is None:
            raise NotFound(404, "NotFound", job.name)

    async def expire_job(self, job: Job, seconds: int) -> Raw:
        self.jobs[job.name]["spec"]["ttlSecondsAfterFinished"] = seconds
        return self.jobs[job.name]

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> Raw:
        self._called("write_status")
        if resource.version != self.resource["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        self.resource = copy.deepcopy(self.resource) | {"status": dict(status)}
        self.resource["metadata"] |= self._versioned()
        return self.resource

    async def failed_creations(self, namespace: str) -> list[Raw]:
        return []

    async def pods_of(self, job: Job) -> list[Raw]:
        return []

    async def workloads(self, job: Job) -> list[Raw]:
        return []

    async def create_event(self, event: Mapping[str, Any]) -> None:
        self._called("create_event")
        self.told.append(event["reason"])


@pytest.fixture
def cluster(resource_manifest: MakeManifest) -> FakeCluster:
    resource = resource_manifest()
    resource["metadata"] |= {"uid": "uid-1", "generation": 1, "resourceVersion": "1"}
    return FakeCluster(resource)


@pytest.fixture
def store(cluster: FakeCluster) -> Store:
    store = Store()
    store.resources.put(cluster.resource)
    return store


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(settings: Settings, queue: WorkQueue, clock: Clock) -> Turns:
    return Turns(settings, queue, clock)


@pytest.fixture
def reconciler(
    cluster: FakeCluster, settings: Settings, store: Store, queue: WorkQueue, turns: Turns
) -> Reconciler:

    return Reconciler(cluster, settings, store=store, queue=queue, turns=turns, clock=lambda: NOW)


def said(cluster: FakeCluster) -> tuple[str, str]:
    ready = cluster.resource["status"]["conditions"][0]
    return ready["status"], ready["reason"]


async def test_second_look_does_nothing(reconciler: Reconciler, cluster: FakeCluster) -> None:
    await reconciler.reconcile(KEY)
    # The step names the Job: one Event says both.
    assert cluster.told == ["Preparing"]
    cluster.fail = {"create_job": AssertionError(), "write_status": AssertionError()}
    await reconciler.reconcile(KEY)
    assert len(cluster.jobs) == 1


async def test_unknown_resource_is_nothing_to_do(reconciler: Reconciler) -> None:
    assert await reconciler.reconcile(("team", "other")) is None


async def test_job_that_the_watch_has_not_shown_yet_is_found(
    reconciler: Reconciler, cluster: FakeCluster, store: Store
) -> None:
    await reconciler.reconcile(KEY)
    for job in store.jobs:
        store.jobs.forget(job)
    await reconciler.reconcile(KEY)
    assert len(cluster.jobs) == 1
    assert len(store.jobs) == 1


async def test_status_of_a_changed_resource_is_a_lost_race(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    cluster.resource["metadata"] = cluster.resource["metadata"] | {"resourceVersion": "2"}
    with pytest.raises(Conflict):
        await reconciler.reconcile(KEY)
    assert len(cluster.jobs) == 1
    # No step says that it is there.
    assert cluster.told == ["JobCreated"]


async def test_refused_job_becomes_a_condition(
    reconciler: Reconciler, cluster: FakeCluster, clock: Clock
) -> None:
    cluster.fail = {"create_job": Refused(403, "Forbidden", "exceeded quota")}
    assert await reconciler.reconcile(KEY) == 300
    assert said(cluster) == ("False", "PodForbidden")
    assert (
        "tried again within two minutes" in cluster.resource["status"]["conditions"][0]["message"]
    )
    clock.seconds += LONGEST_SECONDS
    await reconciler.reconcile(KEY)
    assert said(cluster) == ("Unknown", "Preparing")


async def test_job_being_deleted_is_waited_for(
    reconciler: Reconciler, cluster: FakeCluster, store: Store
) -> None:
    await reconciler.reconcile(KEY)
    for job in store.jobs:
        store.jobs.forget(job)
        cluster.jobs[job.name]["metadata"]["deletionTimestamp"] = NOW.isoformat()
    with pytest.raises(Conflict):
        await reconciler.reconcile(KEY)


async def test_event_that_cannot_be_told_stops_nothing(
    reconciler: Reconciler, cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.fail = {"create_event": Refused(403, "Forbidden", "namespace is terminating")}
    await reconciler.reconcile(KEY)
    assert said(cluster) == ("Unknown", "Preparing")
    assert "Cannot create the Event Preparing" in caplog.text


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (Unreachable("no answer"), logging.WARNING),
        (RuntimeError("a fault of ours"), logging.ERROR),
    ],
)
async def test_worker_survives_and_tries_again(
    reconciler: Reconciler,
    cluster: FakeCluster,
    queue: WorkQueue,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: int,
) -> None:
    cluster.fail = {"create_job": error}
    queue.add(KEY)
    worker = asyncio.create_task(reconciler.work())
    async with asyncio.timeout(5):
        while not cluster.jobs:
            await asyncio.sleep(0.01)
    worker.cancel()
    queue.close()
    (line,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert line.levelno == level
    assert str(error) in caplog.text


def test_newest_event_speaks() -> None:
    def event(time: str | None, message: str, uid: str = "a") -> Raw:
        metadata = {"creationTimestamp": "2026-11-01T12:00:05Z"}
        about = {"involvedObject": {"uid": uid}, "message": message}
        return {"metadata": metadata, "lastTimestamp": time} | about

    events = [
        event("2026-11-01T12:00:09Z", "new"),
        event(None, "old"),
        event("2026-11-01T12:00:04Z", "of another", "b"),
    ]
    assert latest_messages(events) == {"a": "new", "b": "of another"}
    assert latest_messages([]) == {}


async def test_what_one_result_tells_of_an_image_is_looked_at_for_all(
    reconciler: Reconciler, store: Store, queue: WorkQueue, cluster: FakeCluster
) -> None:
    assert len(queue) == 0
    told = {"optimizer": "image", "measuredAt": "2026-11-01T12:00:00Z", "software": {"mopt": "1"}}
    other = copy.deepcopy(cluster.resource)
    other["metadata"] |= {"name": "other", "uid": "uid-2"}
    store.resources.put(other | {"status": {"targets": [told]}})
    await reconciler.reconcile(KEY)
    assert {await queue.get(), await queue.get()} == {KEY, (KEY[0], "other")}
    seen = store.snapshot(KEY).told.versions["image"]  # type: ignore[union-attr]
    assert seen == Seen("2026-11-01T12:00:00Z", {"mopt": "1"})


@pytest.mark.parametrize("when", ["created", "read after 409"])
async def test_job_that_lost_our_label_is_its_resource_s_problem_alone(
    reconciler: Reconciler, cluster: FakeCluster, store: Store, when: str
) -> None:
    if when == "created":  # An admission webhook removes it.
        cluster.relabel = {"app.kubernetes.io/managed-by": "policy"}
        assert await reconciler.reconcile(KEY) is not None
    else:  # Somebody does, and the watch shows the Job as deleted.
        await reconciler.reconcile(KEY)
        for raw in cluster.jobs.values():
            store.jobs.show(raw, deleted=True)
            raw["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "other"}
    assert await reconciler.reconcile(KEY) is not None
    assert said(cluster) == ("False", "PodForbidden")
    message = cluster.resource["status"]["conditions"][0]["message"]
    assert "has lost its label mopt.dev/uid" in message
    assert len(cluster.jobs) == 1
    if when == "created":
        assert store.jobs.awaited.oldest() is None


async def test_label_that_others_stamp_is_of_no_account(
    reconciler: Reconciler, cluster: FakeCluster, store: Store
) -> None:
    await reconciler.reconcile(KEY)
    (raw,) = cluster.jobs.values()
    raw["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "policy"
    store.jobs.show(raw, deleted=False)
    await reconciler.reconcile(KEY)
    assert said(cluster) == ("Unknown", "Preparing")
    assert len(cluster.jobs) == 1
