"""The store is filled before anything is decided, and compared with the cluster later."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mopt_operator.cluster.cache import Restored, Store
from mopt_operator.config.settings import Settings
from mopt_operator.errors import NotFound, Refused
from mopt_operator.loop.lists import Lists
from mopt_operator.loop.metrics import Metrics
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.turns import Turns
from mopt_operator.objects import Raw

Json = dict[str, Any]
JOBS = "jobs"


def job(name: str, version: int, namespace: str = "team") -> Json:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-01T12:00:00Z",
            "labels": {"mopt.dev/name": "sr", "mopt.dev/uid": "uid-1"},
        }
    }


def resource(name: str, version: int, *, ready: str = "Unknown") -> Json:
    condition = {"type": "Ready", "status": ready, "reason": "Any", "message": ""}
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "generation": 1,
        },
        "status": {"observedGeneration": 1, "conditions": [condition]},
    }


def profile_metadata(name: str) -> Json:
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": "40", "generation": 1}


class FakeCluster:
    """Objects in pages of two; what was asked for, and which namespaces are refused."""

    def __init__(self, *jobs: Json, resources: tuple[Json, ...] = ()) -> None:
        self.jobs = list(jobs)
        self.resources = list(resources)
        self.profiles: list[Json] = []
        self.version = 50
        self.refused: set[str | None] = set()
        self.asked: list[str] = []

    async def pages(self, plural: str, namespace: str | None, *, whole: bool) -> AsyncIterator[Raw]:
        self.asked.append(f"{plural} {namespace} {'whole' if whole else 'metadata'}")
        if namespace in self.refused:
            raise Refused(403, "Forbidden", f"jobs is forbidden in {namespace}")
        known = {
            JOBS: self.jobs,
            "modeloptimizations": self.resources,
            "optimizationprofiles": self.profiles,
        }.get(plural, [])
        items = [j for j in known if namespace in (None, j["metadata"].get("namespace"))]
        for start in range(0, max(len(items), 1), 2):
            # As the API server answers: an empty list of metadata is null.
            metadata = {"resourceVersion": str(self.version)}
            yield {"metadata": metadata, "items": items[start : start + 2] or None}

    async def read(self, plural: str, namespace: str, name: str) -> Raw:
        self.asked.append(f"read {name}")
        for raw in (*self.jobs, *self.profiles):
            if raw["metadata"]["name"] == name and not raw.get("vanished"):
                return raw
        raise NotFound(404, "NotFound", name)


class Scene:
    def __init__(self, settings: Settings, cluster: FakeCluster, namespaces: list[str]) -> None:
        self.store, self.queue = Store(), WorkQueue()
        self.metrics = Metrics(
            settings, store=self.store, queue=self.queue, turns=Turns(settings, self.queue)
        )
        self.lists = Lists(
            cluster, namespaces, store=self.store, queue=self.queue, metrics=self.metrics
        )

    def shown(self, series: str) -> float:
        """Return the value of a metric."""
        lines = self.metrics.text().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{series} "))

    def names(self) -> list[str]:
        return sorted(item.name for item in self.store.jobs)


async def test_start_takes_every_page_and_awaits_nothing(settings: Settings) -> None:
    cluster = FakeCluster(*(job(name, 1) for name in "abcde"))
    scene = Scene(settings, cluster, [])
    await scene.lists.fill()
    assert scene.names() == list("abcde")
    assert scene.store.jobs.awaited.oldest() is None
    assert cluster.asked == [f"{plural} None whole" for plural in scene.store.kinds()]


async def test_start_looks_at_what_is_new_before_what_is_settled(settings: Settings) -> None:
    settled = (resource("a", 1, ready="True"), resource("b", 2, ready="False"))
    scene = Scene(settings, FakeCluster(resources=(*settled, resource("new", 3))), [])
    await scene.lists.fill()
    assert scene.queue.unseen == 3
    looked_at = [await asyncio.wait_for(scene.queue.get(), 1) for _ in range(3)]
    assert [name for _, name in looked_at] == ["new", "a", "b"]


async def test_start_looks_at_the_oldest_first(settings: Settings) -> None:
    made = [resource(name, 1) for name in "abc"]
    for raw, hour in zip(made, (11, 12, 10), strict=True):
        raw["metadata"]["creationTimestamp"] = f"2026-11-01T{hour}:00:00Z"
    scene = Scene(settings, FakeCluster(resources=tuple(made)), [])
    await scene.lists.fill()
    looked_at = [await asyncio.wait_for(scene.queue.get(), 1) for _ in range(3)]
    assert [name for _, name in looked_at] == ["c", "a", "b"]


async def test_watch_starts_where_the_list_ended_and_anew_after_a_comparison(
    settings: Settings,
) -> None:
    cluster = FakeCluster(job("a", 1))
    scene = Scene(settings, cluster, [])
    await scene.lists.fill()
    cluster.asked.clear()
    assert await scene.lists.version_to_watch(JOBS, None) == "50"
    assert cluster.asked == []
    cluster.jobs, cluster.version = [], 60
    assert await scene.lists.version_to_watch(JOBS, None) == "60"
    assert cluster.asked == ["jobs None metadata"]
    assert scene.names() == []
    assert await asyncio.wait_for(scene.queue.get(), 1) == ("team", "sr")


async def test_list_older_than_what_was_seen_ends_the_process(settings: Settings) -> None:
    cluster = FakeCluster(job("a", 50))
    scene = Scene(settings, cluster, [])
    await scene.lists.fill()
    await scene.lists.compare()
    scene.store.jobs.show(job("a", 70), deleted=False)
    with pytest.raises(Restored, match="jobs is at resourceVersion 50, though 70 has been seen"):
        await scene.lists.compare()


async def test_change_during_a_comparison_is_no_restored_cluster(settings: Settings) -> None:
    cluster = FakeCluster(job("a", 1), job("b", 1), job("c", 1))
    scene = Scene(settings, cluster, [])
    await scene.lists.fill()
    pages = cluster.pages

    async def busy(plural: str, namespace: str | None, *, whole: bool) -> AsyncIterator[Raw]:
        async for page in pages(plural, namespace, whole=whole):
            if plural == JOBS:
                scene.store.jobs.show(job("a", 70), deleted=False)
            yield page

    cluster.pages = busy  # type: ignore[method-assign]
    await scene.lists.compare()
    assert scene.names() == ["a", "b", "c"]


async def test_comparison_lists_metadata_and_reads_only_what_differs(settings: Settings) -> None:
    cluster = FakeCluster(*(job(name, 1) for name in "abc"))
    scene = Scene(settings, cluster, [])
    await scene.lists.fill()
    cluster.asked.clear()
    await scene.lists.compare()
    assert cluster.asked == [f"{plural} None metadata" for plural in scene.store.kinds()]
    assert len(scene.queue) == 0
    cluster.jobs = [job("a", 1), job("b", 7), job("d", 8), job("gone", 9) | {"vanished": True}]
    await scene.lists.compare()
    assert [asked for asked in cluster.asked if "read" in asked] == [
        "read b",
        "read d",
        "read gone",
    ]
    assert scene.names() == ["a", "b", "d"]
    assert await asyncio.wait_for(scene.queue.get(), 1) == ("team", "sr")


async def test_refused_namespace_does_not_keep_the_others_from_being_compared(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = FakeCluster(job("a", 1, "one"), job("b", 1, "two"), job("c", 1, "three"))
    scene = Scene(settings, cluster, ["one", "two", "three"])
    await scene.lists.fill()
    cluster.jobs.clear()
    cluster.refused = {"one"}
    with caplog.at_level(logging.WARNING):
        await scene.lists.compare()
    assert scene.names() == ["a"]
    assert "with namespace one: 403" in caplog.text
    assert scene.shown("mopt_resync_failures_total") == 1


async def test_comparison_that_succeeds_sets_its_time(settings: Settings) -> None:
    cluster = FakeCluster(job("a", 1))
    scene = Scene(settings, cluster, [])
    await scene.lists.fill()
    filled = scene.shown("mopt_resync_timestamp_seconds")
    assert filled > 0
    cluster.refused = {None}
    await scene.lists.compare()
    assert scene.shown("mopt_resync_timestamp_seconds") == filled
    cluster.refused = set()
    await scene.lists.compare()
    assert scene.shown("mopt_resync_timestamp_seconds") > filled
    assert scene.shown("mopt_resync_duration_seconds_count") == 2


async def test_start_goes_on_without_a_namespace_that_refuses(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = FakeCluster(job("a", 1, "one"), job("b", 1, "two"))
    cluster.refused = {"one"}
    scene = Scene(settings, cluster, ["one", "two"])
    with caplog.at_level(logging.WARNING):
        await scene.lists.fill()
    assert scene.names() == ["b"]
    assert "Cannot list namespace one: 403" in caplog.text


async def test_start_fails_where_the_cluster_is_refused(settings: Settings) -> None:
    cluster = FakeCluster()
    cluster.refused = {None}
    with pytest.raises(Refused):
        await Scene(settings, cluster, []).lists.fill()


async def test_profiles_are_listed_once_whichever_namespaces_are(settings: Settings) -> None:
    store, queue = Store(offers=True), WorkQueue()
    metrics = Metrics(settings, store=store, queue=queue, turns=Turns(settings, queue))
    cluster, looks = FakeCluster(), list[int]()
    lists = Lists(
        cluster,
        ["a", "b"],
        store=store,
        queue=queue,
        metrics=metrics,
        offers_changed=lambda: looks.append(len(store.offers)),
    )
    cluster.profiles = [{"metadata": profile_metadata("l4"), "spec": {}}]
    await lists.fill()
    wanted = ["modeloptimizations", "jobs", "pods"]
    assert cluster.asked == [
        "optimizationprofiles None whole",
        *(f"{plural} {namespace} whole" for namespace in "ab" for plural in wanted),
    ]
    assert looks == [1]
    # What is gone, and what a watch has missed, is told of; no resource is called so.
    cluster.profiles, cluster.version = [{"metadata": profile_metadata("t4"), "spec": {}}], 60
    await lists.compare()
    assert [offer.name for offer in store.offers] == ["t4"]
    assert looks == [1, 1]
    assert len(queue) == 0
    assert await lists.version_to_watch("optimizationprofiles", None) == "50"
