"""Keeps the instances of a form busy: each computes in its own thread, in the requests' order.

Which requests are computed together is said by the rule that load was measured with (load.batches).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.load.batches import sizes_up_to, together
from mopt_optimizer.runtimes import Opening, Runner, open_runner

Array = NDArray[Any]
Feeds = Mapping[str, Array]

MOST_WAITING = 1000
"""Requests that may wait."""


class Busy(Exception):
    """Too many requests wait."""


@dataclass(frozen=True)
class Computed:
    """The outputs of a request, in the model's order, and the nanoseconds that it waited and that
    the runtime took."""

    outputs: list[Array]
    queue_ns: int
    compute_ns: int


class Instance:
    """An opened form in a thread of its own."""

    def __init__(self, opening: Opening) -> None:
        """Open it; raises as open_runner."""
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="instance")
        # Some libraries' settings are a thread's.
        self._runner: Runner = self.thread.submit(open_runner, opening).result()

    def compute(self, feeds: Feeds) -> tuple[list[Array], int]:
        """Return the outputs and the nanoseconds it took; to be called in its thread."""
        started = time.perf_counter_ns()
        outputs = list(self._runner.run(feeds).values())
        return outputs, time.perf_counter_ns() - started


@dataclass(frozen=True, eq=False)
class _Request:
    feeds: Feeds
    arrived_ns: int
    done: asyncio.Future[Computed]

    @property
    def rows(self) -> int:
        return int(next(iter(self.feeds.values())).shape[0])

    @cached_property
    def kind(self) -> list[tuple[str, tuple[int, ...]]]:
        """What must be equal of requests that are computed together."""
        return [(name, array.shape[1:]) for name, array in sorted(self.feeds.items())]


class Instances:
    """The instances of a form. Belongs to one event loop.

    Args:
        batch: Most samples to compute together; 1 computes each request by itself.
    """

    def __init__(self, instances: Sequence[Instance], batch: int) -> None:
        self._idle = list(instances)
        self._sizes = sizes_up_to(batch)
        self._waiting: deque[_Request] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def compute(self, feeds: Feeds) -> Computed:
        """Return what an instance computes of checked inputs.

        Raises:
            Busy: Too many requests wait.
            RuntimeFailure: The runtime fails.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests wait")
        done: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        request = _Request(feeds, time.perf_counter_ns(), done)
        self._waiting.append(request)
        self._dispatch()
        try:
            return await done
        except asyncio.CancelledError:  # Its client has left.
            with suppress(ValueError):  # It was taken.
                self._waiting.remove(request)
            raise

    def _dispatch(self) -> None:
        while self._idle and (group := self._taken()):
            task = asyncio.get_running_loop().create_task(self._run(self._idle.pop(), group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _taken(self) -> list[_Request]:
        """Take the first request off the queue, with what follows and is computed with it."""
        if self._sizes[-1] == 1:  # Its inputs need have no axis.
            return [self._waiting.popleft()] if self._waiting else []
        alike = takewhile(lambda each: each.kind == self._waiting[0].kind, self._waiting)
        count = together((each.rows for each in alike), self._sizes)
        return [self._waiting.popleft() for _ in range(count)]

    async def _run(self, instance: Instance, group: Sequence[_Request]) -> None:
        started = time.perf_counter_ns()
        feeds = group[0].feeds if len(group) == 1 else _joined([each.feeds for each in group])
        loop = asyncio.get_running_loop()
        computing = loop.run_in_executor(instance.thread, instance.compute, feeds)
        await asyncio.wait({computing})
        self._idle.append(instance)
        self._dispatch()
        waiting = [each for each in group if not each.done.done()]
        if (error := computing.exception()) is not None:
            for each in waiting:
                each.done.set_exception(error)
            return
        outputs, took = computing.result()
        parts = [outputs] if len(group) == 1 else _split(outputs, [each.rows for each in group])
        for each, part in zip(group, parts, strict=True):
            if not each.done.done():
                each.done.set_result(Computed(part, started - each.arrived_ns, took))


def _joined(feeds: Sequence[Feeds]) -> dict[str, Array]:
    """Return inputs one after the other along the first axis. Pure."""
    return {name: np.concatenate([each[name] for each in feeds]) for name in feeds[0]}


def _split(outputs: Sequence[Array], rows: Sequence[int]) -> list[list[Array]]:
    """Return the outputs of each request that was computed together with others. Pure."""
    ends = np.cumsum(rows)[:-1]
    parts = [np.split(output, ends) for output in outputs]
    return [list(each) for each in zip(*parts, strict=True)]
