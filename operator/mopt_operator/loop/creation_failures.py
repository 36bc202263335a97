"""Why Jobs have no Pods, as Events say: one list per namespace for all of its Jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mopt_operator.decide.lookups import latest_messages
from mopt_operator.objects import Raw

# Events are not kept in the API server's memory: a list reads all of the namespace's from etcd.
FIRST_SECONDS = 3.0
LONGEST_SECONDS = 30.0


class Api(Protocol):
    """The API call; see cluster.api."""

    async def failed_creations(self, namespace: str) -> list[Raw]: ...


@dataclass
class _Known:
    """What a namespace's Events said.

    Attributes:
        due: When they may be listed again, on the clock.
        pause: Seconds from one list to the next.
    """

    messages: Mapping[str, str] = field(default_factory=dict)
    due: float = 0.0
    pause: float = FIRST_SECONDS
    listing: asyncio.Lock = field(default_factory=asyncio.Lock)


class CreationFailures:
    """What the Job controller says of the Pods that it cannot create."""

    def __init__(self, cluster: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def of(self, namespace: str) -> Mapping[str, str]:
        """Return the newest message on each Job of a namespace, by the Job's UID.

        Raises:
            OperatorError: A call failed.
        """
        self._forget_old()
        known = self._known.setdefault(namespace, _Known())
        async with known.listing:
            if self._clock() >= known.due:
                known.messages = latest_messages(await self._cluster.failed_creations(namespace))
                known.due = self._clock() + known.pause
                known.pause = min(2 * known.pause, LONGEST_SECONDS)
        return known.messages

    def _forget_old(self) -> None:
        """Forget the namespaces of which nobody has asked for a while."""
        latest = self._clock() - LONGEST_SECONDS
        for namespace in [n for n, k in self._known.items() if k.due and k.due < latest]:
            if not self._known[namespace].listing.locked():
                del self._known[namespace]
