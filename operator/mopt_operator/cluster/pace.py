"""A bound on how many requests are made: so many a second, and so many at once before that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from mopt_operator.config.settings import KubeApi


class Pace:
    """Lets requests through in order, each when it is due.

    Args:
        qps: Requests a second, in the long run.
        burst: How many may go at once after a rest.
    """

    def __init__(
        self,
        qps: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / qps
        self._ahead = (burst - 1) / qps
        self._clock = clock
        self._sleep = sleep
        # When the next request would be due without any burst.
        self._due = clock()

    async def __call__(self) -> None:
        """Wait for the turn of one request."""
        now = self._clock()
        due = max(self._due, now)
        self._due = due + self._interval
        if (delay := due - self._ahead - now) > 0:
            await self._sleep(delay)


def pace_of(bounds: KubeApi | None) -> Pace | None:
    """Return what bounds requests; None where nothing does."""
    return None if bounds is None else Pace(bounds.qps, bounds.burst)
