"""Time that a test sets, and timers that fire as it passes."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from mopt_operator.cluster.cache import Key


class Clock:
    """A clock that is set."""

    def __init__(self, seconds: float = 100.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


class Timers:
    """What wakes resources, in simulated time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, Key]] = []
        self._pending: dict[Key, float] = {}

    def add_after(self, key: Key, seconds: float) -> None:
        """Wake a key later; of two times the earlier one holds, as in the work queue."""
        when = self._clock() + seconds
        if when < self._pending.get(key, float("inf")):
            self._pending[key] = when
            heapq.heappush(self._heap, (when, key))

    def run(self, seconds: float, look: Callable[[Key], None]) -> None:
        """Let time pass; look at each key whose time has come."""
        end = self._clock() + seconds
        while self._heap and self._heap[0][0] <= end:
            when, key = heapq.heappop(self._heap)
            if self._pending.get(key) == when:
                self._clock.seconds = when
                del self._pending[key]
                look(key)
        self._clock.seconds = end
