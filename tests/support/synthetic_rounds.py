"""Rounds of forms whose speed is known, in noise that is known: for tests of who wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from present import present

from mopt_api.contest import Standing
from mopt_api.enums import ObjectiveMetric
from mopt_optimizer.timing.deciding import Budget, Contest
from mopt_optimizer.timing.interleave import Rounds, take_rounds

MS = 1_000_000
BASELINE = "baseline"
_EVERYONE = 3
"""Turns of a round, about."""
Noise = Callable[[np.random.Generator, int], NDArray[Any]]
"""Logarithms of how much longer so many turns take, in the order in which they are taken."""


def quiet(generator: np.random.Generator, turns: int) -> NDArray[Any]:
    """Two percent from turn to turn, as on a machine of one's own."""
    return generator.normal(0, 0.02, turns)


def heavy(generator: np.random.Generator, turns: int) -> NDArray[Any]:
    """Student's t of two degrees: without a variance."""
    return 0.03 * generator.standard_t(2, turns)


def skewed(generator: np.random.Generator, turns: int) -> NDArray[Any]:
    """Only ever longer, at times much."""
    return generator.exponential(0.15, turns)


def loaded(generator: np.random.Generator, turns: int) -> NDArray[Any]:
    """A neighbour that comes and goes, for ten turns on average, and takes a third meanwhile."""
    changes = generator.random(turns) < 0.1
    there = np.cumsum(changes) % 2
    return 0.4 * there + generator.normal(0, 0.05, turns)


def drifting(generator: np.random.Generator, turns: int) -> NDArray[Any]:
    """Each turn like the one some turns before it: what slows one form down stays for a while."""
    noise = generator.normal(0, 0.08, turns)
    for turn in range(_EVERYONE, turns):
        noise[turn] += 0.6 * noise[turn - _EVERYONE]
    return noise


def two_valued(generator: np.random.Generator, turns: int) -> NDArray[Any]:
    """Each turn at one of two clocks, half as fast."""
    return 0.69 * (generator.random(turns) < 0.5) + generator.normal(0, 0.02, turns)


NOISES: Mapping[str, Noise] = {
    noise.__name__: noise for noise in (quiet, heavy, skewed, loaded, drifting, two_valued)
}


@dataclass
class _Machine:
    """What the turns of all forms take, one after the other."""

    slowness: NDArray[Any]
    taken: int = 0

    def next(self) -> float:
        self.taken += 1
        return float(np.exp(self.slowness[self.taken - 1]))


@dataclass
class _Form:
    name: str
    milliseconds: float
    machine: _Machine
    spread: float
    generator: np.random.Generator
    calls: int

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:  # noqa: ARG002 - synthetic
        turn = self.milliseconds * MS * self.machine.next()
        return [
            int(turn * factor)
            for factor in np.exp(self.generator.normal(0, self.spread, max(calls, self.calls)))
        ]


@dataclass
class Outcome:
    """A contest that is over."""

    contest: Contest
    rounds: Rounds
    standing: Standing

    @property
    def winner(self) -> str | None:
        """The one that is called faster than all others; None of a tie, and without a decision."""
        certain = not self.standing.open and not self.standing.ties
        return self.standing.leader if certain else None

    @property
    def taken(self) -> int:
        """Rounds until the end."""
        return len(self.rounds[BASELINE])

    def ratio(self, name: str) -> tuple[float, float, float]:
        """Return a form's ratio over the baseline, and its bounds."""
        found = present(self.contest.between(self.rounds, name, BASELINE))
        return found.ratio, found.low, found.high


@dataclass
class Race:
    """Forms of known speed, which can race again and again.

    Attributes:
        milliseconds: Of a call, by name; the baseline among them.
        barred: Cannot win.
        calls: Of a turn.
        round_seconds: That pass in a round, by the contest's clock.
    """

    milliseconds: Mapping[str, float]
    noise: Noise = quiet
    metric: ObjectiveMetric = ObjectiveMetric.LATENCY_P50
    budget: Budget = field(default_factory=lambda: Budget.of(3.0, 6.0))
    barred: tuple[str, ...] = ()
    spread: float = 0.01
    narrow: bool = False
    round_seconds: float = 0.0
    calls: int = 4

    def run(self, seed: int) -> Outcome:
        """Return the outcome of one race."""
        generator = np.random.default_rng(seed)
        names = list(self.milliseconds)
        machine = _Machine(self.noise(generator, (self.budget.rounds + 1) * len(names)))
        forms = [
            _Form(name, time, machine, self.spread, generator, self.calls)
            for name, time in self.milliseconds.items()
        ]
        contest = Contest(
            names,
            BASELINE,
            [name for name in names if name not in self.barred],
            self.metric,
            self.budget,
            narrow=self.narrow,
            clock=lambda: machine.taken / len(names) * self.round_seconds,
        )
        rounds = take_rounds(
            forms,
            "p",
            contest.schedule,
            warmup_seconds=0,
            drop=_fail,
            failures=RuntimeError,
            after=contest.after,
        )
        return Outcome(contest, rounds, contest.standing(rounds))


def _fail(form: _Form, error: RuntimeError) -> None:
    raise error
