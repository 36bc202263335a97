"""Exclusions that cost less than those found, proposed by an exact program and tried. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .cheapest import cheapest_exclusions

# A share of the cost that is not worth another model.
_GAIN = 0.005
_MOST_TRIED = 6
# The factor by which the allowed noise changes at least, and the dB by which it grows at most.
_LEAST_GAP, _MOST_SPARE = 0.1, 100.0
# The noise between what was too much and what costs too much is halved until that near.
_NEAR = 0.99


def cheaper_exclusions(
    chosen: frozenset[int],
    costs: Sequence[float],
    noises: Sequence[float],
    aim: float,
    margin_of: Callable[[frozenset[int]], float],
    ended: Callable[[], bool] = lambda: False,
) -> frozenset[int]:
    """Return the cheapest exclusions that were proposed and hold; those chosen where none do.

    By what a model's noise differs from the sum of its layers', the sum that is allowed is raised
    or lowered for the next proposal.

    Args:
        chosen: Known to hold.
        costs: Of excluding each layer, not below 0.
        noises: Of each layer in INT8, as a share of what gates allow.
        aim: The margin that is required, in dB.
        margin_of: Returns that of exclusions; minus infinity for a fault.
        ended: Whether to stop with what was found.
    """
    best, least = chosen, sum(costs[index] for index in chosen)
    left = math.fsum(noise for index, noise in enumerate(noises) if index not in chosen)
    most, too_much = math.pow(10.0, -aim / 10), math.inf
    if left and not ended():
        most = left * _gap(margin_of(chosen) - aim)
    tried = 0
    while tried < _MOST_TRIED and not ended():
        found = cheapest_exclusions(costs, noises, most, below=least * (1 - _GAIN), gain=_GAIN)
        if found is None:
            if not most < _NEAR * too_much < math.inf:
                break
            most = math.sqrt(most * too_much) if most else _NEAR * too_much
            continue
        tried += 1
        spare = margin_of(found.excluded) - aim
        if spare >= 0:
            best, least = found.excluded, found.cost
        else:
            too_much = found.noise
        most = min(found.noise * _gap(spare), _NEAR * too_much)
    return best


def _gap(spare: float) -> float:
    """Return by what factor noise may grow that is so many dB below what is allowed."""
    return max(math.pow(10.0, min(spare, _MOST_SPARE) / 10), _LEAST_GAP)
