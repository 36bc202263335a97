"""One rule says which requests are computed together: when load is measured, and by the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopt_optimizer.load.batches import sizes_up_to, together
from mopt_optimizer.load.batching import Queue
from mopt_optimizer.server.computing import Array, Feeds, Instance, Instances

pytestmark = pytest.mark.optimizer

most = st.integers(1, 40)
requests = st.lists(st.integers(1, 12), max_size=40)


def groups_of(waiting: Sequence[int], largest: int) -> list[list[int]]:
    """Take what waits until nothing does, a call at a time."""
    left, groups, sizes = list(waiting), [], sizes_up_to(largest)
    while left:
        count = together(left, sizes)
        groups.append(left[:count])
        del left[:count]
    return groups


@given(requests, most)
def test_each_request_is_computed_once_and_in_order(waiting: list[int], largest: int) -> None:
    groups = groups_of(waiting, largest)
    assert [rows for group in groups for rows in group] == waiting
    assert all(groups)


@given(requests, most)
def test_nothing_is_larger_than_the_most_nor_of_another_size(
    waiting: list[int], largest: int
) -> None:
    """But for a request that is so by itself."""
    for group in groups_of(waiting, largest):
        assert len(group) == 1 or (sum(group) <= largest and sum(group) in sizes_up_to(largest))


@given(requests, most)
def test_as_many_go_together_as_make_a_size(waiting: list[int], largest: int) -> None:
    sizes = sizes_up_to(largest)
    taken = together(waiting, sizes)
    for more in range(taken + 1, len(waiting) + 1):
        assert sum(waiting[:more]) not in sizes


@given(most)
def test_sizes_rise_from_one_to_the_largest_by_doubling(largest: int) -> None:
    sizes = sizes_up_to(largest)
    assert (sizes[0], sizes[-1]) == (1, largest)
    assert all(a < b <= 2 * a for a, b in pairwise(sizes))


def test_nothing_waits_nothing_is_computed() -> None:
    assert together([], (1, 2)) == 0


class Recorder(Instance):
    """Computes nothing, and keeps the samples of each call; the first one waits to be let go."""

    def __init__(self, free: threading.Event) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.calls: list[int] = []
        self._free = free

    def compute(self, feeds: Feeds) -> tuple[list[Array], int]:
        self._free.wait()
        (array,) = feeds.values()
        self.calls.append(len(array))
        return [array], 1


async def served(waiting: int, largest: int) -> list[int]:
    """Return the samples of each call of a server: one request, and then those that wait."""
    free = threading.Event()
    instance = Recorder(free)
    instances = Instances([instance], largest)
    one = {"x": np.zeros((1, 2), np.float32)}
    asked = [asyncio.ensure_future(instances.compute(one)) for _ in range(waiting + 1)]
    await asyncio.sleep(0)
    free.set()
    answers = await asyncio.gather(*asked)
    assert all(answer.outputs[0].shape == (1, 2) for answer in answers)
    instance.thread.shutdown()
    return instance.calls


def measured(waiting: int, largest: int) -> list[int]:
    """Return the samples of each call when the same load is measured."""
    free, taken, done = threading.Event(), threading.Event(), threading.Semaphore(0)
    calls: list[int] = []

    def compute(samples: Sequence[int]) -> None:
        taken.set()
        free.wait()
        calls.append(len(samples))

    def answered(numbers: Sequence[int]) -> None:
        for _ in numbers:
            done.release()

    with Queue([compute], sizes_up_to(largest), answered) as queue:
        queue.put([(0, 0)])
        taken.wait()
        queue.put([(number, 0) for number in range(1, waiting + 1)])
        free.set()
        for _ in range(waiting + 1):
            done.acquire()
    return calls


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 12))
def test_what_is_served_is_what_was_measured(waiting: int, largest: int) -> None:
    assert asyncio.run(served(waiting, largest)) == measured(waiting, largest)


async def test_who_leaves_is_not_computed() -> None:
    free = threading.Event()
    instance = Recorder(free)
    instances = Instances([instance], 1)
    given = [{"x": np.zeros((rows, 2), np.float32)} for rows in (1, 2, 3)]
    first, leaving, last = (asyncio.ensure_future(instances.compute(feeds)) for feeds in given)
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    free.set()
    await asyncio.gather(first, last)
    instance.thread.shutdown()
    assert instance.calls == [1, 3]
