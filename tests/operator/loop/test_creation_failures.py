"""Events on Jobs without Pods: one list for all of a namespace, and less and less often."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from operator_clock import Clock

from mopt_operator.errors import Unreachable
from mopt_operator.loop.creation_failures import LONGEST_SECONDS, CreationFailures
from mopt_operator.objects import Raw

TIME = "2026-11-01T12:00:00Z"


class Events:
    """The Events of all namespaces."""

    def __init__(self) -> None:
        self.lists = 0
        self.broken = False

    async def failed_creations(self, namespace: str) -> list[Raw]:
        self.lists += 1
        await asyncio.sleep(0)
        if self.broken:
            raise Unreachable("no answer")
        about = {"uid": f"uid-{namespace}"}
        event = {"involvedObject": about, "message": "exceeded quota"}
        return [event | {"lastTimestamp": TIME, "metadata": {"creationTimestamp": TIME}}]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(events: Events, clock: Clock) -> CreationFailures:
    return CreationFailures(events, clock)


async def test_all_jobs_of_a_namespace_share_a_list(
    failures: CreationFailures, events: Events
) -> None:
    found = await asyncio.gather(*(failures.of("team") for _ in range(100)))
    assert found == [{"uid-team": "exceeded quota"}] * 100
    assert events.lists == 1
    assert await failures.of("other") == {"uid-other": "exceeded quota"}
    assert events.lists == 2


async def test_lists_are_less_and_less_frequent(
    failures: CreationFailures, events: Events, clock: Clock
) -> None:
    times = []
    for _ in range(200):
        before = events.lists
        for _ in range(50):
            await failures.of("team")
        times += [clock()] * (events.lists - before)
        clock.seconds += 1
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses[:4] == [3, 6, 12, 24]
    assert set(pauses[4:]) == {LONGEST_SECONDS}


async def test_namespace_without_such_jobs_for_a_while_is_listed_at_once(
    failures: CreationFailures, events: Events, clock: Clock
) -> None:
    for _ in range(100):
        await failures.of("team")
        clock.seconds += 1
    listed = events.lists
    clock.seconds += 3 * LONGEST_SECONDS
    await failures.of("team")
    clock.seconds += 3
    await failures.of("team")
    assert events.lists == listed + 2


async def test_failed_list_is_made_again(failures: CreationFailures, events: Events) -> None:
    events.broken = True
    with pytest.raises(Unreachable):
        await failures.of("team")
    events.broken = False
    assert await failures.of("team") == {"uid-team": "exceeded quota"}
