"""A work queue of keys: one worker at a time handles a key, and no key is lost.

As in client-go: adding a key that waits changes nothing; adding one that is being handled brings
it back afterwards. As in controller-runtime's priority queue: what a list brings and is settled
waits behind what happens now.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from mopt_operator.cluster.cache import Key

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 60.0
# Of so many keys in a row one may wait for later: nothing waits for ever behind what is busy.
FAIR_TURN = 8
# What is not urgent waits for so long: what happens to a Job and its Pod comes in bursts.
SOON_SECONDS = 0.25


class WorkQueue:
    """Keys that want to be looked at.

    Attributes:
        waited: Called with the seconds for which a key has waited for a worker.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waited: Callable[[float], object] = lambda _: None
        self._clock = clock
        # A standby's queue fills for days before somebody takes from it: that is no wait.
        self._served: float | None = None
        self._since: dict[Key, float] = {}
        self._ready: deque[Key] = deque()
        self._later: OrderedDict[Key, None] = OrderedDict()
        self._wanted: set[Key] = set()
        self._busy: set[Key] = set()
        self._unseen: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._soon: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._arrived = asyncio.Event()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def unseen(self) -> int:
        """How many keys of the first pass have not been looked at."""
        return len(self._unseen)

    def begin_first_pass(self) -> None:
        """Count the keys that wait now as those of the first pass."""
        self._unseen = set(self._wanted)

    def add(self, key: Key, *, later: bool = False) -> None:
        """Ask for a key to be looked at soon, or once others have been."""
        if key in self._wanted:
            if not later and key in self._later:
                del self._later[key]
                self._ready.append(key)
            return
        self._wanted.add(key)
        self._since[key] = self._clock()
        if key in self._busy:
            return
        if later:
            self._later[key] = None
        else:
            self._ready.append(key)
        self._arrived.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Ask for a key to be looked at after a while; of two times the earlier one holds."""
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        when = loop.time() + max(seconds, 0)
        if pending is not None:
            if pending.when() <= when:
                return
            pending.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def add_soon(self, key: Key) -> None:
        """Ask for a key to be looked at, once for all that happens to it within a moment."""
        if key not in self._soon and key not in self._wanted:
            loop = asyncio.get_running_loop()
            self._soon[key] = loop.call_later(SOON_SECONDS, self.add, key)

    def retry(self, key: Key) -> float:
        """Ask for a key again after a failure; return the seconds until then.

        They double with each failure in a row, up to a minute.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # The exponent is bounded: a float overflows after a thousand failures.
        delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures, 10), LONGEST_RETRY_SECONDS)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """Start again with short delays at the next failure."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key; it stays with the caller until `done`.

        In any case others run first: to look at what is settled takes no waiting, and workers that
        never wait would keep the event loop until the queue is empty.
        """
        if self._served is None:
            self._served = self._clock()
        await asyncio.sleep(0)
        while not (self._ready or self._later):
            self._arrived.clear()
            await self._arrived.wait()
        key = self._next()
        self._wanted.discard(key)
        self.waited(self._clock() - max(self._since.pop(key), self._served))
        # It sees all that has happened by now.
        if soon := self._soon.pop(key, None):
            soon.cancel()
        self._busy.add(key)
        return key

    def done(self, key: Key) -> None:
        """Give a key back."""
        self._busy.discard(key)
        self._unseen.discard(key)
        if key in self._wanted:
            self._ready.append(key)
            self._arrived.set()

    def close(self) -> None:
        """Cancel the timers."""
        for timers in (self._timers, self._soon):
            for timer in timers.values():
                timer.cancel()
            timers.clear()

    def _next(self) -> Key:
        self._turn = (self._turn + 1) % FAIR_TURN
        if self._later and (not self._ready or self._turn == 0):
            return self._later.popitem(last=False)[0]
        return self._ready.popleft()

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)
