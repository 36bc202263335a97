"""The search for the best configuration under load, coarse to fine. Pure.

It is a generator: it proposes a trial, is sent what that gave, and returns what it found. Whoever
drives it runs LoadGen; tests drive it with made-up machines.

First what all configurations that take all CPUs compute from a full queue, one sample a call: few,
from one instance with all threads to many with one. From the best it climbs to whatever neighbour
is better, in batch, threads and instances, as Triton Model Analyzer's quick search does, until none
is, two steps of batch away neither: one short trial may have been disturbed. What a configuration
computes from a full queue is more than any rate of arrivals that it keeps up with. So of Server a
configuration is only tried at a rate where its full queue shows more than the best rate so far, at
first at a rate a little above that: most need one trial. Trials are short; the winner's figures
come from one that is long enough for LoadGen to call it valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from mopt_api.figures import Serving
from mopt_api.jobs.load_result import LoadStop, LoadTrial
from mopt_api.load import LoadScenario

from .configurations import Space, key_of
from .rules import Bound, full_seconds

BETTER = 1.03
"""A configuration replaces another where it does this much more: less is noise."""
NARROW = 1.05
"""Rates that are closer than this are one."""
FAR_BEHIND = 0.5
"""Of what another form computes in the same configuration: less is not searched further."""
_FIRST_RATE = 0.7
_OTHERS = 2.0
_HIGHEST_RATE = 0.98
_LOWEST_RATE = 0.02
_LOWERED = 0.93
_LOWERED_LATE = 0.8
_MOST_LATE = 3
_MOST_CONFIRMATIONS = 8
MOST_TRIALS = 200


@dataclass(frozen=True)
class Proposal:
    """A trial that is to be run.

    Attributes:
        offered: Requests a second that arrive; None is a queue that is never empty.
        full: Long enough for its figures to count; else short.
    """

    serving: Serving
    offered: float | None = None
    full: bool = False


@dataclass(frozen=True)
class Limits:
    """What a search may do.

    Attributes:
        cpus: Threads that may compute at the same time.
        batches: Sizes of a batch that may be computed, rising; the first is 1.
        bound: Of Server, which has one.
        duration_seconds: Of a trial whose figures count.
        budget_seconds: For all trials, but for the last ones, of the winner, whose figures
            count: four at most are beyond it.
        most_seconds: For all trials, the last ones among them.
        rival: Samples a second that another form computes from a full queue in a configuration;
            None where that is not known.
    """

    cpus: int
    batches: Sequence[int]
    scenario: LoadScenario
    duration_seconds: float
    budget_seconds: float
    bound: Bound | None = None
    most_seconds: float = math.inf
    rival: Callable[[Serving], float | None] = lambda _: None


@dataclass(frozen=True)
class Found:
    """The end of a search.

    Attributes:
        best: The trial whose figures count; None where there is none.
        message: Why there is none; empty where there is one.
    """

    best: LoadTrial | None
    stopped: LoadStop
    message: str = ""


Steps = Generator[Proposal, LoadTrial | None, Found]
_Parts = Generator[Proposal, LoadTrial | None, float]


class _Enough(Exception):
    """The budget is used up."""


def search(limits: Limits) -> Steps:
    """Propose trials until the best configuration is found.

    Each is answered by its result, or by None where the configuration cannot be opened or run.
    """
    return (yield from Search(limits).steps())


class Search:
    """One search."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._space = Space(limits.cpus, limits.batches)
        self._capacities: dict[tuple[int, int, int], float] = {}
        self._spent = 0.0
        self._trials = 0
        self._best: Serving | None = None
        self._value = 0.0
        self._last = ""
        self._shortest = math.inf

    def steps(self) -> Steps:
        """See search."""
        stopped = LoadStop.CONVERGED
        try:
            if behind := (yield from self._first()):
                return Found(None, stopped, behind)
            yield from self._look()
        except _Enough:
            stopped = LoadStop.BUDGET
            self._settle()
        return (yield from self._confirmed(stopped))

    def _first(self) -> Generator[Proposal, LoadTrial | None, str]:
        """Try one instance with all threads; return why nothing else is worth a trial, if so.

        Not by one trial alone, which something else may have disturbed.
        """
        coarse, words = self._space.coarse(), ""
        for serving in (coarse[0], coarse[-1]):
            capacity = yield from self._capacity(serving)
            rival = self._limits.rival(serving)
            if rival is None or not 0 < capacity < FAR_BEHIND * rival:
                return ""
            words = (
                f"far behind: {capacity:.4g} samples/s where another form computes {rival:.4g} "
                f"in the same configuration, {worded(serving)}"
            )
        return words

    def _look(self) -> Generator[Proposal, LoadTrial | None, None]:
        """Find the best configuration."""
        coarse = self._space.coarse()
        for serving in coarse:
            yield from self._capacity(serving)
        for serving in sorted(coarse, key=self._known, reverse=True):
            yield from self._challenge(serving)
        seen = set(map(key_of, coarse))
        while self._best is not None:
            around = (*self._space.neighbours(self._best), *self._space.beyond(self._best))
            ahead = next((n for n in around if key_of(n) not in seen), None)
            if ahead is None:
                return
            seen.add(key_of(ahead))
            yield from self._challenge(ahead)

    def _settle(self) -> None:
        """Take the best of what was tried, where time ran out before anything was compared."""
        if self._best is None and self._limits.scenario is LoadScenario.OFFLINE:
            key = max(self._capacities, key=self._capacities.__getitem__, default=None)
            if key is not None and (value := self._capacities[key]):
                instances, threads, batch = key
                self._best = Serving(instances=instances, threads=threads, batch=batch)
                self._value = value

    def _challenge(self, serving: Serving) -> Generator[Proposal, LoadTrial | None, None]:
        """Take a configuration as the best if it is better."""
        capacity = yield from self._capacity(serving)
        if capacity <= self._value * BETTER or self._too_slow_alone(serving, capacity):
            return
        if self._limits.scenario is LoadScenario.SERVER:
            yield from self._raise_rate(serving, capacity)
        else:
            self._best, self._value = serving, capacity

    def _too_slow_alone(self, serving: Serving, capacity: float) -> bool:
        """Return whether one sample takes longer than any request may, with no other waiting."""
        bound = self._limits.bound
        if self._limits.scenario is LoadScenario.OFFLINE or bound is None or serving.batch > 1:
            return False
        alone = 1e3 * serving.instances / capacity
        # With the others at work: with none it may take less.
        if alone <= _OTHERS * bound.tightest_ms:
            return False
        if alone < self._shortest:
            self._shortest = alone
            self._last = f"a request takes {alone:.4g} ms in {worded(serving)}"
        return True

    def _capacity(self, serving: Serving) -> _Parts:
        """Return samples a second of a full queue, by a short trial; 0 where it cannot be run."""
        if key_of(serving) not in self._capacities:
            trial = yield from self._run(Proposal(serving))
            self._capacities[key_of(serving)] = trial.throughput if trial else 0.0
        return self._known(serving)

    def _known(self, serving: Serving) -> float:
        return self._capacities[key_of(serving)]

    def _raise_rate(
        self, serving: Serving, capacity: float
    ) -> Generator[Proposal, LoadTrial | None, None]:
        """Find the highest rate that keeps the bound, if it is above the best so far."""
        kept, lost = 0.0, capacity * _HIGHEST_RATE
        rate = min(self._value * BETTER, lost) or capacity * _FIRST_RATE
        while True:
            if (yield from self._keeps(serving, rate)):
                kept = rate
                self._best, self._value = serving, max(kept, self._value)
            elif self._value and not kept:
                return
            else:
                lost = rate
            if lost <= kept * NARROW or lost < capacity * _LOWEST_RATE:
                return
            # As many times more than the one as less than the other: they may be far apart.
            rate = math.sqrt(kept * lost) if kept else lost / 2

    def _keeps(self, serving: Serving, rate: float) -> Generator[Proposal, LoadTrial | None, bool]:
        trial = yield from self._run(Proposal(serving, offered=rate))
        return trial is not None and self._within(trial)

    def _within(self, trial: LoadTrial) -> bool:
        bound = self._limits.bound
        return bound is None or bound.kept_by(trial.latency_ms)

    def _run(self, proposal: Proposal) -> Generator[Proposal, LoadTrial | None, LoadTrial | None]:
        if self._spent + self._reserved() > self._limits.budget_seconds:
            raise _Enough
        if self._trials >= MOST_TRIALS:
            raise _Enough
        return (yield from self._tried(proposal))

    def _tried(self, proposal: Proposal) -> Generator[Proposal, LoadTrial | None, LoadTrial | None]:
        trial = yield proposal
        self._trials += 1
        self._spent += trial.seconds if trial else 0.0
        return trial

    def _reserved(self) -> float:
        """Return how long the trial of the best so far will take whose figures count."""
        if self._best is None:
            return 0.0
        bound = self._limits.bound if self._limits.scenario is LoadScenario.SERVER else None
        return full_seconds(self._limits.duration_seconds, bound, self._value)

    def _confirmed(self, stopped: LoadStop) -> Steps:
        """Return the best with figures that count: at a lower rate where a long trial shows that
        a short one promised too much."""
        if self._best is None:
            return Found(None, stopped, self._why_none(stopped))
        rate, late = self._value, 0
        for _ in range(_MOST_CONFIRMATIONS):
            if self._spent + self._reserved() > self._limits.most_seconds:
                stopped, self._last = LoadStop.BUDGET, f"it takes {self._reserved():.0f} s"
                break
            offered = rate if self._limits.scenario is LoadScenario.SERVER else None
            trial = yield from self._tried(Proposal(self._best, offered=offered, full=True))
            if trial is not None and trial.valid and self._within(trial):
                return Found(trial, stopped)
            self._last = (trial and trial.message) or "it could not be run"
            rate *= _LOWERED
            if self._spent > self._limits.budget_seconds:
                # Figures at a rate that is a little too low are worth more than none.
                stopped, late, rate = LoadStop.BUDGET, late + 1, rate * _LOWERED_LATE
            if late > _MOST_LATE:
                break
        return Found(
            None, stopped, f"no long trial of {worded(self._best)} is valid: {self._last}"[:256]
        )

    def _why_none(self, stopped: LoadStop) -> str:
        if not any(self._capacities.values()):
            return "it cannot be run under load in any configuration"
        words = f"no rate keeps {self._limits.bound}"
        if stopped is LoadStop.BUDGET:
            words = f"no rate was found in time that keeps {self._limits.bound}"
        return f"{words}: {self._last}" if self._last else words


def worded(serving: Serving) -> str:
    """Return a configuration in words: 2 x 1 threads, batch 4."""
    return f"{serving.instances} x {serving.threads} threads, batch {serving.batch}"
