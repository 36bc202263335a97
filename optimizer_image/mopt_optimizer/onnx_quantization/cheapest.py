"""The layers that cost least to keep out of INT8, so that the noise of the others is allowed. Pure.

The noise power of layers nearly adds up. So this is a knapsack: what stays in INT8 is to fit into a
noise, and what does not fit in is to cost little. It is solved exactly, layer by layer: of the
choices so far only those go on that no other one beats in both, and that can still become cheaper
than what is known.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import accumulate
from typing import NamedTuple

# So many choices go on at most: all of twelve layers. Of more, evenly spread ones.
_MOST = 4096
# Sums in another order differ in their last digits.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Exclusions:
    """Layers out of INT8.

    Attributes:
        excluded: Their indices.
        cost: Their sum.
        noise: The sum of the others, which are in INT8.
    """

    excluded: frozenset[int]
    cost: float
    noise: float


class _Chain(NamedTuple):
    """Indices, the last one first."""

    layer: int
    before: _Chain | None


class _Partial(NamedTuple):
    """A choice among the layers so far."""

    cost: float
    noise: float
    excluded: _Chain | None


def cheapest_exclusions(
    costs: Sequence[float],
    noises: Sequence[float],
    most_noise: float,
    *,
    below: float = math.inf,
    gain: float = 0.0,
) -> Exclusions | None:
    """Return the exclusions of least cost that leave no more than a noise; None where there are no
    cheaper ones than asked for.

    Exact up to twelve layers, and beyond as long as no more than 4,096 choices go on at once; from
    there on a cheaper one may be missed.

    Args:
        costs: Of excluding each layer, not below 0.
        noises: Of each layer in INT8, as powers, not below 0.
        most_noise: That all layers in INT8 leave together, not below 0.
        below: Only exclusions that cost less.
        gain: A share of the cost that is not worth looking for.
    """
    # What costs nothing goes first, or the bound of the rest would be too high.
    order = sorted(
        range(len(costs)),
        key=lambda index: -noises[index] / costs[index] if costs[index] else -math.inf,
    )
    known = _in_order(order, costs, noises, most_noise)
    least = min(known.cost, below) * (1 - gain)
    rest = _Rest([costs[index] for index in order], [noises[index] for index in order])
    partial = [_Partial(0, 0, None)]
    for place, index in enumerate(order):
        cost, noise = costs[index], noises[index]
        kept = [p._replace(noise=p.noise + noise) for p in partial]
        out = [_Partial(p.cost + cost, p.noise, _Chain(index, p.excluded)) for p in partial]
        partial = _thinned(
            [
                one
                for one in _unbeaten(kept, out)
                if one.cost + rest.least_cost(place + 1, most_noise - one.noise) < least
            ]
        )
    if partial:
        return Exclusions(_indices(partial[0].excluded), partial[0].cost, partial[0].noise)
    return known if known.cost < below else None


def _in_order(
    order: Sequence[int], costs: Sequence[float], noises: Sequence[float], most_noise: float
) -> Exclusions:
    """Return the first layers of an order whose exclusion is enough."""
    left = [*accumulate((noises[index] for index in reversed(order)), initial=0.0)][::-1]
    count = next(count for count, noise in enumerate(left) if noise <= most_noise)
    return Exclusions(
        frozenset(order[:count]), sum(costs[index] for index in order[:count]), left[count]
    )


class _Rest:
    """The layers that are not decided on yet, in order of noise removed per cost."""

    def __init__(self, costs: Sequence[float], noises: Sequence[float]) -> None:
        self._costs = [*accumulate(costs, initial=0.0)]
        self._noises = [*accumulate(noises, initial=0.0)]

    def least_cost(self, first: int, most_noise: float) -> float:
        """Return a bound on the cost of excluding layers from one on, so that the others leave no
        more than a noise: as if layers could be divided. Infinity where even all are not enough."""
        if most_noise < 0:
            return math.inf
        excess = (self._noises[-1] - self._noises[first]) * (1 - _ROUNDING) - most_noise
        if excess <= 0:
            return 0.0
        end = bisect_left(self._noises, self._noises[first] + excess, first + 1)
        step = self._noises[end] - self._noises[end - 1]
        part = (self._noises[first] + excess - self._noises[end - 1]) / step if step else 0.0
        before = self._costs[end - 1] - self._costs[first]
        cost = before + part * (self._costs[end] - self._costs[end - 1])
        return max(cost, 0.0) * (1 - _ROUNDING)


def _unbeaten(kept: Sequence[_Partial], out: Sequence[_Partial]) -> list[_Partial]:
    """Return what none of both beats, by rising cost and so by falling noise.

    Args:
        kept, out: Ordered likewise.
    """
    found: list[_Partial] = []
    for one in merge(kept, out, key=lambda one: one[:2]):
        if not found or one.noise < found[-1].noise:
            found.append(one)
    return found


def _thinned(partial: list[_Partial]) -> list[_Partial]:
    count = len(partial)
    if count <= _MOST:
        return partial
    return [partial[place * (count - 1) // (_MOST - 1)] for place in range(_MOST)]


def _indices(chain: _Chain | None) -> frozenset[int]:
    found = []
    while chain is not None:
        found.append(chain.layer)
        chain = chain.before
    return frozenset(found)
