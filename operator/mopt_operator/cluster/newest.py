"""What the newest result tells, by what it tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from mopt_operator.told import Seen

K = TypeVar("K")
V = TypeVar("V")


class Newest(Mapping[K, Seen[V]], Generic[K, V]):
    """The newest that results tell, in memory alone: the statuses tell it all again.

    Args:
        order: Sorts equally new values, so that the order in which they come does not matter.

    Attributes:
        changes: How often something that was known became another.
    """

    def __init__(self, order: Callable[[V], tuple[object, ...]]) -> None:
        self._order = order
        self._seen: dict[K, Seen[V]] = {}
        self.changes = 0

    def learn(self, key: K, time: str, value: V) -> None:
        """Take what a result tells."""
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = Seen(time, value)
        elif (time, self._order(value)) > (known.time, self._order(known.value)):
            self._seen[key] = Seen(time, value)
            self.changes += known.value != value

    def __getitem__(self, key: K) -> Seen[V]:
        return self._seen[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)
