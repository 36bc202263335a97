"""Intervals of ratios, held against scipy's quantiles and against resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from mopt_api.contest import Interval
from mopt_optimizer.timing.paired import ratio_of, student_quantile
from mopt_optimizer.timing.tails import Turns, resampled, tail_ratio


@given(st.floats(1e-6, 0.5), st.integers(1, 200))
def test_quantiles_are_those_of_student(error: float, degrees: int) -> None:
    assert student_quantile(error, degrees) == pytest.approx(
        stats.t.ppf(1 - error / 2, degrees), rel=1e-6
    )


def test_equal_differences_leave_no_doubt() -> None:
    found = ratio_of([math.log(2)] * 6, 0.01)
    assert (found.low, found.high) == pytest.approx((2, 2))


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=40), st.floats(1e-4, 0.1), st.floats(1e-4, 0.1)
)
def test_less_error_is_a_wider_interval_around_the_mean(
    differences: list[float], one: float, other: float
) -> None:
    strict, loose = ratio_of(differences, min(one, other)), ratio_of(differences, max(one, other))
    assert strict.low <= loose.low <= loose.ratio <= loose.high <= strict.high
    assert strict.ratio == pytest.approx(math.exp(np.mean(differences)))


def test_rounds_that_resemble_their_neighbours_tell_less() -> None:
    mixed = [0.1, -0.1] * 12
    in_a_row = sorted(mixed)
    narrow, wide = ratio_of(mixed, 0.01), ratio_of(in_a_row, 0.01)
    assert wide.high / wide.low > 2 * narrow.high / narrow.low


@pytest.mark.parametrize("rounds", [6, 9, 14])
@pytest.mark.parametrize("carried", [0.0, 0.5])
def test_the_mean_is_within_as_often_as_is_said(rounds: int, carried: float) -> None:
    generator = np.random.default_rng(7)
    runs, outside = 2000, 0
    for _ in range(runs):
        noise = generator.normal(0, 1, rounds + 20)
        for index in range(1, len(noise)):
            noise[index] += carried * noise[index - 1]
        found = ratio_of([float(value) for value in 0.1 * noise[20:]], 0.01)
        outside += not found.low <= 1 <= found.high
    # What is said is 1 %. So few rounds hardly show how correlated they are.
    assert outside / runs <= (0.05 if carried else 0.01)


def compared(ours: Turns, theirs: Turns, percent: int) -> Interval:
    tails = resampled(ours, percent), resampled(theirs, percent)
    return tail_ratio(*tails, len(ours), 0.01)


def test_tails_are_compared_in_all_calls_of_the_same_rounds() -> None:
    generator = np.random.default_rng(3)
    fast = [[int(t) for t in 1e6 * generator.uniform(1, 2, 20)] for _ in range(40)]
    slow = [[3 * t for t in turn] for turn in fast]
    found = compared(fast, slow, 99)
    assert (found.low, found.ratio, found.high) == pytest.approx((3, 3, 3), rel=1e-6)


def test_a_rare_slow_call_is_seen_in_the_tail_alone() -> None:
    generator = np.random.default_rng(4)
    plain = [[int(t) for t in 1e6 * generator.uniform(1, 1.1, 25)] for _ in range(40)]
    rare = [[*turn[:-1], 5 * turn[-1]] for turn in plain]
    ninety, ninety_nine = (compared(plain, rare, percent) for percent in (90, 99))
    assert ninety.low <= 1.02 <= ninety_nine.low


def test_tails_cover_their_ratio() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        ours, theirs = (
            [[int(t) for t in scale * generator.lognormal(0, 0.2, 10)] for _ in range(24)]
            for scale in (1e6, 2e6)
        )
        found = compared(ours, theirs, 90)
        covered += found.low <= 2 <= found.high
    assert covered >= 95
