"""Who of several contenders may still be the best, from how each compares with others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations

from .verdict import TIE


@dataclass(frozen=True)
class Interval:
    """A ratio, of how many times one is better than another, and its bounds; all above 0."""

    ratio: float
    low: float
    high: float

    @property
    def inverse(self) -> Interval:
        """The other's over the one."""
        return Interval(1 / self.ratio, 1 / self.high, 1 / self.low)

    def over(self, other: Interval) -> Interval:
        """Return how one compares with another where both are compared with a third.

        Sound whatever the two have in common: where both intervals hold, so does this.
        """
        return Interval(self.ratio / other.ratio, self.low / other.high, self.high / other.low)

    @property
    def is_better(self) -> bool:
        """Whether the one is certainly better, by more than nothing."""
        return self.low > 1

    def is_tie(self, margin: float) -> bool:
        """Whether the two are certainly no further apart than a margin, such as 0.02."""
        return self.low >= 1 / (1 + margin) and self.high <= 1 + margin


Between = Callable[[str, str], Interval | None]
"""How many times better the first is than the second; None where nothing is known of it."""


@dataclass(frozen=True)
class Standing:
    """How a contest stands.

    Attributes:
        leader: The best by estimate of those that nobody beats for certain.
        beaten: Certainly worse than another contender, and no tie with it.
        ties: As good as the leader, within the margin.
        open: Neither: they may be better than the leader.
    """

    leader: str
    beaten: frozenset[str]
    ties: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def is_decided(self) -> bool:
        """Whether more rounds could change nothing: what is not the leader is beaten or a tie."""
        return not self.open


def standing(ratios: Mapping[str, float], between: Between, margin: float = TIE) -> Standing:
    """Return how contenders stand.

    Args:
        ratios: Each one's over a common reference: the larger, the better. At least one; of equal
            ones the first comes first.
        margin: Of a tie. 0 for figures that are exact.
    """
    beaten = {
        other
        for one, other in permutations(ratios, 2)
        if (known := between(one, other)) is not None
        and known.is_better
        and not known.is_tie(margin)
    }
    # In a circle, which estimates of different rounds could make, nobody is out.
    left = [name for name in ratios if name not in beaten] or list(ratios)
    leader = max(left, key=lambda name: ratios[name])
    others = [name for name in left if name != leader]
    tied = {
        name
        for name in others
        if (known := between(leader, name)) is not None and known.is_tie(margin)
    }
    return Standing(
        leader=leader,
        beaten=frozenset(ratios) - frozenset(left),
        ties=tuple(name for name in others if name in tied),
        open=tuple(name for name in others if name not in tied),
    )
