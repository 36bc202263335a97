"""A dead or deaf watch ends the process instead of leaving it without news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from mopt_operator.cluster.cache import Store
from mopt_operator.cluster.lag import Awaited
from mopt_operator.loop.watchdog import (
    DEAF_SECONDS,
    WatchDeaf,
    WatchEnded,
    deaf_watches,
    missing_watches,
    watch_the_watches,
)
from mopt_operator.loop.watches import PROFILES, RESOURCES


def test_missing_kinds_are_named() -> None:
    names = [f"watcher for {RESOURCES[0]}@None", f"watcher for {RESOURCES[2]}@None", "Task-1"]
    assert missing_watches(names) == [RESOURCES[1]]


def test_missing_watch_of_one_namespace_is_named() -> None:
    names = [f"watcher for {kind}@{ns}" for kind in RESOURCES for ns in ("a", "b")]
    assert missing_watches(names, ["a", "b"]) == []
    assert missing_watches(names[:-1], ["a", "b"]) == [f"{RESOURCES[2]}@b"]
    assert missing_watches(names, ["a", "b", "c"]) == sorted(f"{kind}@c" for kind in RESOURCES)


def test_profiles_are_watched_once_whichever_namespaces_are() -> None:
    names = [f"watcher for {kind}@a" for kind in RESOURCES]
    assert missing_watches(names, ["a"]) == []
    assert missing_watches(names, ["a"], offers=True) == [PROFILES]
    names.append(f"watcher for {PROFILES}@None")
    assert missing_watches(names, ["a"], offers=True) == []


@pytest.fixture
async def watchers() -> AsyncIterator[list[asyncio.Task[Literal[True]]]]:
    tasks = [
        asyncio.create_task(asyncio.Event().wait(), name=f"watcher for {kind}@None")
        for kind in RESOURCES
    ]
    yield tasks
    for task in tasks:
        task.cancel()


async def test_ended_watch_is_noticed(watchers: list[asyncio.Task[Literal[True]]]) -> None:
    watching = asyncio.create_task(watch_the_watches(Store(), check_seconds=0.01, start_seconds=60))
    await asyncio.sleep(0.05)
    assert not watching.done()
    watchers[1].cancel()
    with pytest.raises(WatchEnded, match=r"not watched: jobs\.v1\.batch"):
        await asyncio.wait_for(watching, 5)


async def test_watch_that_never_starts_is_noticed_after_a_while() -> None:
    with pytest.raises(WatchEnded):
        await asyncio.wait_for(
            watch_the_watches(Store(), check_seconds=0.01, start_seconds=0.05), 5
        )


async def test_start_is_given_time() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            watch_the_watches(Store(), check_seconds=0.01, start_seconds=60), 0.1
        )


def test_oldest_version_that_was_not_shown_counts() -> None:
    awaited = Awaited()
    awaited.expect("1", "team/a", "5", now=10.0)
    awaited.expect("2", "team/b", "6", now=20.0)
    awaited.expect("1", "team/a", "8", now=30.0)
    oldest = awaited.oldest()
    assert oldest is not None
    assert (oldest.name, oldest.version, oldest.since) == ("team/a", "8", 10.0)
    awaited.shown("1", "9", now=31.0)
    assert awaited.oldest() is not None
    awaited.gone("2")
    assert awaited.oldest() is None


def test_watch_that_is_late_is_not_deaf() -> None:
    awaited = Awaited()
    awaited.expect("1", "team/a", "10", now=0.0)
    awaited.shown("1", "9", now=50.0)
    oldest = awaited.oldest()
    assert oldest is not None
    assert (oldest.version, oldest.since) == ("10", 50.0)


def test_deaf_watch_is_named_with_what_it_did_not_show() -> None:
    store = Store()
    store.jobs.awaited.expect("1", "team/sr-prepare", "42", now=100.0)
    store.pods.awaited.expect("2", "team/sr-pod", "43", now=150.0)
    assert deaf_watches(store, 100.0 + DEAF_SECONDS) == []
    (line,) = deaf_watches(store, 101.0 + DEAF_SECONDS)
    assert line == "the watch of jobs has not shown team/sr-prepare at version 42 for 101 s"


async def test_deaf_watch_ends_the_watching(watchers: list[asyncio.Task[Literal[True]]]) -> None:
    store = Store()
    now = 0.0
    watching = asyncio.create_task(
        watch_the_watches(store, check_seconds=0.01, start_seconds=60, clock=lambda: now)
    )
    store.resources.awaited.expect("1", "team/sr", "7", now=now)
    await asyncio.sleep(0.05)
    assert not watching.done()
    now = DEAF_SECONDS + 1
    with pytest.raises(WatchDeaf, match="modeloptimizations has not shown team/sr"):
        await asyncio.wait_for(watching, 5)
