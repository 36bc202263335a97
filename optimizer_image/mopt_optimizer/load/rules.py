"""What LoadGen is asked for in a trial, and how many requests it takes to be sure. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mopt_api.base import ObservedModel
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import Latency
from mopt_api.load import LoadScenario
from mopt_api.objective import Constraint

# LoadGen's own, of its early stopping.
_CONFIDENCE = 0.99
_FORGIVEN = 1
"""Requests over the bound for which there is room in the fewest that are asked for."""
SHORT_SHARE = 0.2
_SHORTEST_SECONDS = 1.0
SHORT_REQUESTS = 50
_PERCENTILES = {
    ObjectiveMetric.LATENCY_P50: 50,
    ObjectiveMetric.LATENCY_P90: 90,
    ObjectiveMetric.LATENCY_P99: 99,
}


@dataclass(frozen=True)
class Bound:
    """A latency percentile and the most that it may be.

    Attributes:
        percentile: 50, 90 or 99: LoadGen judges by this one.
        milliseconds: Of a request, from its arrival to its result.
        others: What is to be kept beside it, of lower percentiles.
    """

    percentile: int
    milliseconds: float
    others: tuple[Bound, ...] = ()

    @classmethod
    def of(cls, constraints: Iterable[Constraint]) -> Bound | None:
        """Return the bound that constraints on latencies make together; None without any."""
        found = sorted((_PERCENTILES[each.metric], each.limit) for each in constraints)
        if not found:
            return None
        *others, (percentile, milliseconds) = found
        return cls(percentile, milliseconds, tuple(cls(*each) for each in others))

    @property
    def tightest_ms(self) -> float:
        """The smallest of all its latencies."""
        return min(self.milliseconds, *(other.milliseconds for other in self.others), math.inf)

    def kept_by(self, latency: Latency) -> bool:
        """Return whether latencies are within all of it."""
        found = {50: latency.p50, 90: latency.p90, 99: latency.p99}[self.percentile]
        return found <= self.milliseconds and all(other.kept_by(latency) for other in self.others)

    def __str__(self) -> str:
        first = f"p{self.percentile} within {self.milliseconds:.4g} ms"
        return " and ".join([first, *map(str, self.others)])


class Rules(ObservedModel):
    """The settings of one test of LoadGen.

    Attributes:
        rate: Requests a second: of Server those that arrive, of Offline those to be expected, by
            which LoadGen chooses how many there are.
        bound_ms: Of Server.
        percentile: 0 to 1, of Server.
        seconds: The shortest test that is valid.
        requests: The fewest that are valid.
    """

    scenario: LoadScenario
    rate: float
    seconds: float
    requests: int = 1
    bound_ms: float | None = None
    percentile: float = 0.99


def requests_needed(percentile: int) -> int:
    """Return how many requests show that a percentile is kept, if one of them is over the bound.

    LoadGen's early stopping asks that a service whose percentile is just over the bound would look
    this good in 1 of 100 tests at most: 662 requests for p99, 64 for p90, 11 for p50.
    """
    over = 1 - percentile / 100
    count = _FORGIVEN + 1
    while _at_most(_FORGIVEN, count, over) > 1 - _CONFIDENCE:
        count += 1
    return count


def _at_most(few: int, count: int, chance: float) -> float:
    """Return the probability of at most a few of count events, each of a chance."""
    return sum(
        math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(few + 1)
    )


def full_seconds(duration: float, bound: Bound | None, rate: float) -> float:
    """Return how long a trial whose figures count takes at a rate."""
    needed = requests_needed(bound.percentile) if bound is not None else 1
    return max(duration, needed / rate if rate > 0 else duration)


def rules_for(
    scenario: LoadScenario, rate: float, duration: float, bound: Bound | None, *, full: bool
) -> Rules:
    """Return the settings of a trial.

    Args:
        rate: As Rules has it.
        duration: Of a full one; a short one takes a fifth, and a second at least.
        bound: Of Server.
    """
    seconds = duration if full else max(_SHORTEST_SECONDS, SHORT_SHARE * duration)
    if bound is None or scenario is LoadScenario.OFFLINE:
        return Rules(scenario=scenario, rate=rate, seconds=seconds)
    return Rules(
        scenario=scenario,
        rate=rate,
        seconds=seconds,
        requests=requests_needed(bound.percentile) if full else SHORT_REQUESTS,
        bound_ms=bound.milliseconds,
        percentile=bound.percentile / 100,
    )
