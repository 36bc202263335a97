"""Requests that wait, and the instances that take them: as many at once as a batch holds.

Nothing waits for a batch to fill: an instance that is free takes what is there, up to its batch, so
batches grow with the load by themselves. batches.together says how many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from threading import Condition, Thread
from typing import Self

from mopt_optimizer.runtimes.instances import Compute

from .batches import together

Request = tuple[int, int]
"""Its number, by which it is answered, and that of its sample."""


class Queue:
    """Instances at work on a queue, each in a thread. A context manager: they end on exit.

    Attributes:
        failure: What an instance raised first; the requests are then answered without computing.
    """

    def __init__(
        self,
        instances: Sequence[Compute],
        sizes: Sequence[int],
        answered: Callable[[Sequence[int]], None],
    ) -> None:
        """Start the instances.

        Args:
            sizes: Of batches that may be computed, rising; the first is 1.
            answered: Told the numbers of requests that are done; called by any thread.
        """
        self.failure: Exception | None = None
        self._sizes = tuple(sizes)
        self._answered = answered
        self._waiting: deque[Request] = deque()
        self._ready = Condition()
        self._open = True
        self._threads = [
            Thread(target=self._work, args=(compute,), daemon=True) for compute in instances
        ]
        for thread in self._threads:
            thread.start()

    def put(self, requests: Sequence[Request]) -> None:
        """Add requests."""
        with self._ready:
            self._waiting.extend(requests)
            self._ready.notify(len(requests))

    def _work(self, compute: Compute) -> None:
        while batch := self._take():
            if self.failure is None:
                try:
                    compute([sample for _, sample in batch])
                except Exception as error:  # noqa: BLE001 - whatever it is, LoadGen waits
                    self.failure = self.failure or error
            self._answered([number for number, _ in batch])

    def _take(self) -> list[Request]:
        """Return what is computed next; empty at the end."""
        with self._ready:
            while not self._waiting and self._open:
                self._ready.wait()
            count = together(repeat(1, len(self._waiting)), self._sizes)
            return [self._waiting.popleft() for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._ready:
            self._open = False
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()
