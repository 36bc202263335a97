"""A dead watch ends the process instead of leaving it deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from mopt_operator.handlers import RESOURCES
from mopt_operator.watching import WatchEnded, missing_watches, watch_the_watches


def test_missing_kinds_are_named() -> None:
    names = [f"watcher for {RESOURCES[0]}@None", f"watcher for {RESOURCES[2]}@team", "Task-1"]
    assert missing_watches(names) == [RESOURCES[1]]


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
    watching = asyncio.create_task(watch_the_watches(check_seconds=0.01, start_seconds=60))
    await asyncio.sleep(0.05)
    assert not watching.done()
    watchers[1].cancel()
    with pytest.raises(WatchEnded, match=r"not watched: jobs\.v1\.batch"):
        await asyncio.wait_for(watching, 5)


async def test_watch_that_never_starts_is_noticed_after_a_while() -> None:
    with pytest.raises(WatchEnded):
        await asyncio.wait_for(watch_the_watches(check_seconds=0.01, start_seconds=0.05), 5)


async def test_start_is_given_time() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch_the_watches(check_seconds=0.01, start_seconds=60), 0.1)
