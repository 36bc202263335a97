"""Which resources may be made again after an upgrade: so many at once, oldest first."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from mopt_operator.cluster.cache import Key
from mopt_operator.objects import Resource


class Reruns:
    """The resources whose results of another optimizer are being replaced.

    Args:
        most: How many at once.
        wake: Has a resource looked at soon.
    """

    def __init__(self, most: int, wake: Callable[[Key], None]) -> None:
        self._most = most
        self._wake = wake
        self._running: set[Key] = set()
        # By creation, then key; and each one's place there.
        self._line: list[tuple[str, Key]] = []
        self._places: dict[Key, tuple[str, Key]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._running

    def ask(self, resource: Resource) -> bool:
        """Tell whether it is a resource's turn; otherwise it is woken when it is."""
        key = (resource.namespace, resource.name)
        if key not in self._places and key not in self._running:
            self._places[key] = (resource.created, key)
            insort(self._line, self._places[key])
        room = self._most - len(self._running)
        if room > 0 and self._places.get(key) in self._line[:room]:
            self._forget(key)
            self._running.add(key)
        return key in self._running

    def observe(self, key: Key, *, running: bool, waiting: bool = False) -> None:
        """Note whether a resource is being made again, or still waits to be."""
        if not waiting:
            self._forget(key)
        if running:
            self._running.add(key)
        elif key in self._running:
            self._running.discard(key)
            room = max(0, self._most - len(self._running))
            for _, other in self._line[:room]:
                self._wake(other)

    def _forget(self, key: Key) -> None:
        if place := self._places.pop(key, None):
            del self._line[bisect_left(self._line, place)]
