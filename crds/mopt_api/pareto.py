"""Which of several are worse than another in something, and better in nothing. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Goodness = tuple[float, ...]
"""Of one: in each regard a number that is larger where it is better, never NaN."""
Key = TypeVar("Key", bound=Hashable)


def dominates(one: Goodness, other: Goodness) -> bool:
    """Return whether one is better in something and worse in nothing."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def dominators(goodness: Mapping[Key, Goodness]) -> dict[Key, Key | None]:
    """Return what dominates each, the first of the Pareto front that does; None on the front."""
    front = [
        key
        for key, mine in goodness.items()
        if not any(dominates(other, mine) for other in goodness.values())
    ]
    return {
        key: next((best for best in front if dominates(goodness[best], mine)), None)
        for key, mine in goodness.items()
    }
