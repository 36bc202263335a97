"""When the rounds at a point may end: the best form is certain, or no time is left.

After 6 rounds, and after each half as many more, every pair is compared. A form that another one
beats for certain leaves. Measuring ends when all that are left are as good as the best one within
2 % (a tie), or none are; or with the budget.

The confidence is that of the whole: its error is divided among the looks, since looking again and
again for a difference finds one in the end, and among the others that a form is compared with
(Bonferroni, for both; Jennison and Turnbull, Group Sequential Methods, 1999, chapter 2, has
sharper bounds, for equal groups of normal data). Rounds in random order make the differences of
two equal forms symmetric about 0 whatever the neighbours do, load that comes and goes included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from numpy.typing import NDArray

from mopt_api.contest import Interval, Standing, standing
from mopt_api.enums import ObjectiveMetric
from mopt_api.objective import LATENCIES
from mopt_api.percentiles import calls_for
from mopt_api.verdict import CONFIDENCE, Compared

from .interleave import MIN_RUNS, Rounds, Schedule
from .paired import ratio_of
from .tails import resampled, tail_ratio

FIRST_LOOK = 6
# That have a spread.
_FEWEST = 3
_GROWTH = 1.5
# A turn of a duration: six rounds are an eighth of it.
TURNS = 48
_PERCENT = {ObjectiveMetric.LATENCY_P90: 90, ObjectiveMetric.LATENCY_P99: 99}
_FIGURES = (*LATENCIES, ObjectiveMetric.THROUGHPUT)
# Where other groups follow, a form is compared with theirs through the baseline.
_NARROW = 1.02
# The ratio of what is decided is told better, where that takes a quarter of the duration at most;
# and in any case so that it says something.
_TELLING = 1.05
_QUARTER = TURNS // 4
_ROUGH = 1.5


def looks(most: int) -> list[int]:
    """Return after how many rounds they are looked at; the last is the most."""
    found = [min(FIRST_LOOK, most)]
    while found[-1] < most:
        found.append(min(math.ceil(found[-1] * _GROWTH), most))
    return found


@dataclass(frozen=True)
class Budget:
    """What may be spent on the rounds at a point.

    Attributes:
        turn_seconds: Time that a turn lasts at least.
        rounds: At most.
        seconds: For each participant; all of them share it, so that whoever leaves leaves time.
        calls: Of each; with fewer nothing is undecided yet.
    """

    turn_seconds: float
    rounds: int
    seconds: float
    calls: int

    @classmethod
    def of(
        cls, min_duration: float, longest_duration: float, least_calls: int = MIN_RUNS
    ) -> Budget:
        """Return the budget of a benchmark."""
        turn = min_duration / TURNS
        return cls(turn, math.ceil(longest_duration / turn), longest_duration, least_calls)


class Contest:
    """The rounds of a group at a point, looked at as they come.

    Attributes:
        metric: Figure of a call that is compared: a latency, or Throughput.
    """

    def __init__(
        self,
        participants: Sequence[str],
        baseline: str,
        eligible: Collection[str],
        metric: ObjectiveMetric,
        budget: Budget,
        *,
        narrow: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            participants: All, the baseline among them.
            eligible: Those that may win; of the others figures are wanted and no more.
            narrow: Other groups are compared with this one: go on until each interval over the
                baseline is narrow.
        """
        self.metric = metric
        self._participants = list(participants)
        self._baseline = baseline
        self._eligible = {baseline, *eligible}
        self._budget = budget
        self._looks = looks(budget.rounds)
        self._narrow = narrow
        self._clock = clock
        self._started: float | None = None
        others = max(1, len(self._participants) - 1)
        self._error = (1 - CONFIDENCE) / len(self._looks) / others
        self._evidence = _Evidence({}, metric, self._error)

    @property
    def schedule(self) -> Schedule:
        """The turns, as many as there may be."""
        return Schedule(self._budget.rounds, self._budget.turn_seconds, 1)

    def after(self, rounds: Rounds) -> Collection[str]:
        """Return who leaves now that a round is over; everyone where it all ends."""
        taken = len(rounds[self._baseline])
        if self._started is None:
            # Not before the first round: warming up is no part of the budget.
            self._started = self._clock()
        if taken not in self._looks:
            return ()
        inside = [name for name in rounds if len(rounds[name]) == taken]
        found = self.standing(rounds)
        if self._is_over(found, rounds, inside, taken):
            return inside
        out = {name for name in inside if name not in self._eligible} | found.beaten
        return [name for name in inside if name in out and name != self._baseline]

    def standing(self, rounds: Rounds) -> Standing:
        """Return how those that may win stand."""
        self._evidence = _Evidence(rounds, self.metric, self._error)
        ratios = {
            name: 1.0 if name == self._baseline else self._estimate(name)
            for name in rounds
            if name in self._eligible
        }
        return standing(ratios, self._evidence.between)

    def _estimate(self, name: str) -> float:
        """Return a ratio over the baseline, certain or not."""
        known = self._evidence.between(name, self._baseline)
        # Until there are calls enough for a percentile, the middle of each turn.
        return (known or self._evidence.paired(name, self._baseline)).ratio

    def between(self, rounds: Rounds, one: str, other: str) -> Interval | None:
        """Return how many times better one is than another, by the metric; None if not known."""
        return _Evidence(rounds, self.metric, self._error).between(one, other)

    def compared(self, rounds: Rounds) -> dict[str, list[Compared]]:
        """Return how each compares with the baseline, and with those listed after it; by every
        figure, since objectives change."""
        found: dict[str, list[Compared]] = {name: [] for name in rounds}
        others = [name for name in rounds if name != self._baseline]
        for metric in _FIGURES:
            evidence = _Evidence(rounds, metric, self._error)
            for index, one in enumerate(others):
                found[one] += [
                    Compared(
                        than=other,
                        metric=metric,
                        ratio=known.ratio,
                        interval=[known.low, known.high],
                    )
                    for other in (self._baseline, *others[index + 1 :])
                    if (known := evidence.between(one, other)) is not None
                ]
        return found

    def words(self, rounds: Rounds) -> str:
        """Return how it ended, for people."""
        found = self.standing(rounds)
        after = f"after {len(rounds[self._baseline])} rounds"
        if found.open:
            return f"undecided {after}: {found.leader}, or {', '.join(found.open)}"
        if found.ties:
            return f"tie {after}: {found.leader}, {', '.join(found.ties)}"
        return f"decided {after}: {found.leader}"

    def _is_over(self, found: Standing, rounds: Rounds, inside: Sequence[str], taken: int) -> bool:
        if taken >= self._looks[-1]:
            return True
        following = self._looks[self._looks.index(taken) + 1]
        if found.is_decided and self._is_told(found, inside, following):
            return True
        if min(sum(map(len, rounds[name])) for name in inside) < self._budget.calls:
            return False
        a_round = (self._clock() - (self._started or 0.0)) / (taken - 1)
        return a_round * following > self._budget.seconds * len(self._participants)

    def _is_told(self, found: Standing, inside: Sequence[str], following: int) -> bool:
        """Return whether the ratios over the baseline of those that are left are told well enough.

        Args:
            following: Round of the next look.
        """
        within = _NARROW if self._narrow else _TELLING
        if not self._narrow and following > _QUARTER:
            within = _ROUGH
        left = [n for n in inside if n in self._eligible - found.beaten - {self._baseline}]
        known = [self._evidence.between(name, self._baseline) for name in left]
        return all(one is not None and one.high <= one.low * within**2 for one in known)


class _Evidence:
    """What rounds tell of pairs; each is computed once."""

    def __init__(self, rounds: Rounds, metric: ObjectiveMetric, error: float) -> None:
        self._rounds = rounds
        self._metric = metric
        self._error = error
        self._needed = calls_for(metric)
        self._figure = fmean if metric is ObjectiveMetric.THROUGHPUT else median
        self._known: dict[tuple[str, str], Interval | None] = {}
        self._tails: dict[tuple[str, int], NDArray[Any]] = {}
        self._logs = {
            name: [math.log(self._figure(turn)) for turn in turns] for name, turns in rounds.items()
        }

    def between(self, one: str, other: str) -> Interval | None:
        """Return how many times better one is; None where there are too few rounds or calls."""
        if (other, one) in self._known:
            inverse = self._known[other, one]
            return inverse and inverse.inverse
        if (one, other) not in self._known:
            self._known[one, other] = self._between(one, other)
        return self._known[one, other]

    def _between(self, one: str, other: str) -> Interval | None:
        ours, theirs = self._rounds[one], self._rounds[other]
        shared = min(len(ours), len(theirs))
        if shared < _FEWEST:
            return None
        if self._needed == 1:
            return self.paired(one, other)
        if min(sum(map(len, turns[:shared])) for turns in (ours, theirs)) < self._needed:
            return None
        tails = self._tail(one, shared), self._tail(other, shared)
        return tail_ratio(*tails, shared, self._error)

    def _tail(self, name: str, rounds: int) -> NDArray[Any]:
        if (name, rounds) not in self._tails:
            turns = self._rounds[name][:rounds]
            self._tails[name, rounds] = resampled(turns, _PERCENT[self._metric])
        return self._tails[name, rounds]

    def paired(self, one: str, other: str) -> Interval:
        """Return how many times better one is by the middle of each turn."""
        pairs = zip(self._logs[one], self._logs[other], strict=False)
        return ratio_of([theirs - ours for ours, theirs in pairs], self._error)
