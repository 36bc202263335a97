"""What is disturbed, how often it is measured again, and which figures are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_optimizer.machine.run_queues import Turns
from mopt_optimizer.machine.system import Counters
from mopt_optimizer.timing.disturbance import (
    REPETITIONS,
    STEAL_SHARE,
    THROTTLED_SHARE,
    WAITED_SHARE,
    is_disturbed,
    judged_counters,
    measure_steadily,
    shares,
)

QUIET = Counters(0, 0.0, 0.0, Turns(0.0, 0.0, 0))


@pytest.mark.parametrize(
    ("after", "disturbed"),
    [
        (Counters(0, 0.0, 20.0), False),
        # Ten seconds are a hundred quota periods.
        (Counters(5, 0.0, 20.0), False),
        (Counters(6, 0.0, 20.0), True),
        (Counters(0, 1.0, 19.0), False),
        (Counters(0, 1.1, 18.9), True),
        # Little of a large machine, much of what was wanted on it.
        (Counters(0, 0.2, 1.0), True),
        (Counters(0, 0.0, 0.0), False),
        # What is not told disturbs nothing.
        (Counters(None, None, None), False),
        (Counters(None, 5.0, None), False),
        (Counters(0, 0.0, 20.0, Turns(9.1, 0.9, 0)), False),
        (Counters(0, 0.0, 20.0, Turns(8.9, 1.1, 0)), True),
        # Little of the time, much of what was wanted.
        (Counters(0, 0.0, 1.0, Turns(0.5, 0.1, 0)), True),
        (Counters(0, 0.0, 1.0, Turns(0.0, 0.0, 0)), False),
        # To be woken takes a while on an idle CPU too: 100,000 times a second of these two.
        (Counters(0, 0.0, 20.0, Turns(10.0, 2.5, 100_000)), True),
        (Counters(0, 0.0, 20.0, Turns(10.0, 2.0, 100_000)), False),
        (Counters(0, 0.0, 20.0, Turns(10.0, 0.4, 100_000)), False),
    ],
)
def test_what_is_disturbed(after: Counters, disturbed: bool) -> None:
    assert is_disturbed(QUIET, after, 10.0) is disturbed


def test_nothing_known_at_the_start_is_not_judged() -> None:
    assert not is_disturbed(Counters(None, None, None), Counters(900, 900.0, 1.0), 1.0)


TURNS = st.builds(Turns, st.floats(0, 100_000), st.floats(0, 100_000), st.integers(0, 10**9))
COUNTERS = st.builds(
    Counters, st.integers(0, 10_000), st.floats(0, 1000), st.floats(0, 100_000), TURNS
)


@given(COUNTERS, COUNTERS, st.floats(0.01, 10_000))
def test_shares_are_shares(before: Counters, after: Counters, seconds: float) -> None:
    had = shares(before, after, seconds)
    assert had.throttled is not None
    assert had.stolen is not None
    assert 0 <= had.throttled <= 1
    assert 0 <= had.stolen <= 1
    assert had.waited is not None
    assert 0 <= had.waited <= 1
    over = had.throttled > THROTTLED_SHARE or had.stolen > STEAL_SHARE or had.waited > WAITED_SHARE
    assert is_disturbed(before, after, seconds) is over


@pytest.mark.parametrize(
    ("threads", "cpus", "judged"), [(1, 1, True), (2, 2.5, True), (2, 1.5, False), (3, 2, False)]
)
def test_threads_that_wait_for_each_other_are_not_judged(
    threads: int, cpus: float, judged: bool
) -> None:
    def counters() -> Counters:
        return Counters(3, 2.0, 1.0, Turns(1.0, 1.0, 0))

    expected = Counters(3, 2.0, 1.0, Turns(1.0, 1.0, 0) if judged else None)
    assert judged_counters(counters, threads, cpus)() == expected


def test_all_that_was_told_is_in_the_words() -> None:
    words = shares(QUIET, Counters(50, 4.0, 16.0, Turns(3.0, 1.0, 0)), 10.0).words()
    assert words == (
        "throttled 50% of the time, 20% of the CPU time stolen, "
        "threads waited for a CPU 25% of the time that they wanted one"
    )
    assert len(f"{words}, the least of {REPETITIONS + 1} measurements") <= 256


class Machine:
    """A clock that a measurement takes 10 s of, with quota periods cut short in each."""

    def __init__(self, *throttled: int) -> None:
        self._throttled = list(throttled)
        self.measured = 0
        self.logged: list[str] = []

    def measure(self) -> int:
        self.measured += 1
        return self.measured

    def counters(self) -> Counters:
        return Counters(sum(self._throttled[: self.measured]), 0.0, 0.0)

    def log(self, step: str, message: str, **fields: object) -> None:  # noqa: ARG002
        self.logged.append(message)

    def run(self) -> tuple[int, str | None]:
        return measure_steadily(
            self.measure,
            self.counters,
            self.log,
            clock=lambda: 10.0 * self.measured,
        )


def test_an_undisturbed_measurement_is_taken_once() -> None:
    machine = Machine(0)
    assert machine.run() == (1, None)
    assert machine.logged == []


def test_a_disturbed_one_is_repeated_until_it_is_not() -> None:
    machine = Machine(50, 0)
    assert machine.run() == (2, None)
    assert machine.logged == [
        "disturbed (throttled 50% of the time, 0% of the CPU time stolen): measuring again"
    ]


def test_after_the_last_the_least_disturbed_is_kept_with_its_figure() -> None:
    machine = Machine(50, 20, 30, 0)
    figures, words = machine.run()
    assert machine.measured == REPETITIONS + 1
    assert figures == 2
    assert words == (
        "throttled 20% of the time, 0% of the CPU time stolen, the least of 3 measurements"
    )
    assert len(words) <= 256
    assert machine.logged[-1].endswith("unstable")
