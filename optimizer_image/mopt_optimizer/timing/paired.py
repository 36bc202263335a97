"""How many times one form is as fast as another, from rounds that both took turns in. Pure.

Each round gives one observation, the difference of the logarithms of the two turns' figures: what
slows the whole round down cancels. Their mean is the logarithm of the ratio, and its interval is
Student's. A percentile bootstrap is what is often taken instead; of six rounds it cannot reach
beyond the smallest and largest of them, which is where the mean lies in 3 % of cases, so it calls
equal forms different: 99 % need an interval that knows how little six rounds tell.

Rounds that follow each other may be alike, as neighbours come and go: where each resembles the next
they count for fewer, as of AR(1) noise, in the error and in the degrees of freedom (Zwiers and von
Storch, J. Climate 8, 1995, "Taking serial correlation into account in tests of the mean").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from mopt_api.contest import Interval

_MOST_CORRELATED = 0.9
# Of few rounds the correlation is a guess: less than this would be to know nothing at all.
_FEWEST_DEGREES = 2
# exp of it is below the largest ratio that is reported.
_LARGEST_LOG = 40.0


@lru_cache(maxsize=1024)
def student_quantile(error: float, degrees: int) -> float:
    """Return how many standard errors a mean is off with a probability, either way.

    By the finite sums for whole degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4.

    Args:
        error: Above 0, below 1.
        degrees: At least 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _within(middle, degrees) < 1 - error:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Return the probability that Student's t is within +-sqrt(degrees) * tan(angle)."""
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for index in range(3 if odd else 2, degrees - 1, 2):
        term *= square * (index - 1) / index
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def ratio_of(differences: Sequence[float], error: float) -> Interval:
    """Return the ratio whose logarithm the differences are of, and its bounds.

    Args:
        differences: Of logarithms, in the order of their rounds; at least three.
        error: Probability that the ratio is outside the bounds.
    """
    rounds = len(differences)
    mean = math.fsum(differences) / rounds
    left = [value - mean for value in differences]
    squares = math.fsum(value * value for value in left)
    worth = _worth(left, squares)
    error_of_mean = math.sqrt(squares / (rounds - 1) / worth)
    degrees = max(_FEWEST_DEGREES, round(worth) - 1)
    return interval_around(mean, student_quantile(error, degrees) * error_of_mean)


def interval_around(log: float, half: float) -> Interval:
    """Return the ratio of a logarithm and half the width of its interval."""
    low, middle, high = (
        math.exp(min(max(value, -_LARGEST_LOG), _LARGEST_LOG))
        for value in (log - half, log, log + half)
    )
    return Interval(middle, low, high)


def _worth(left: Sequence[float], squares: float) -> float:
    """Return how many independent rounds these tell as much as; no more than they are.

    Args:
        left: Differences from their mean.
        squares: Sum of their squares.
    """
    rounds = len(left)
    if squares == 0:
        return rounds
    correlation = math.fsum(a * b for a, b in pairwise(left)) / squares
    # A short series seems less correlated than it is: Marriott and Pope, Biometrika 41, 1954.
    correlation += (1 + 3 * correlation) / rounds
    correlation = min(max(correlation, 0.0), _MOST_CORRELATED)
    return rounds * (1 - correlation) / (1 + correlation)
