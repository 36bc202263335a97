"""Throughput over CPU limits: laws with known truth, and what a prediction may not do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mopt_api.scaling import Law, Point, fitted

MEASURED = (0.5, 1.0, 2.0)
TOLERANCE = 0.15


def usl(cpus: float, rate: float, contention: float, coherence: float) -> float:
    return rate * cpus / (1 + contention * (cpus - 1) + coherence * cpus * (cpus - 1))


TRUTHS = st.tuples(st.floats(0.1, 1e4), st.floats(0, 0.25), st.floats(0, 0.02))
NOISE = st.tuples(*[st.floats(-0.03, 0.03) for _ in MEASURED])


def law(truth: tuple[float, float, float], noise: tuple[float, ...]) -> Law:
    return fitted(
        [Point(n, usl(n, *truth) * (1 + e)) for n, e in zip(MEASURED, noise, strict=True)]
    )


# Three limits do not show the coherence, which costs more the farther off they are.
NEAR = st.tuples(st.floats(0.1, 1e4), st.floats(0, 0.25), st.floats(0, 0.005))


@given(NEAR, NOISE, st.floats(MEASURED[0] / 2, MEASURED[-1] * 2))
def test_an_unmeasured_limit_is_predicted_within_15_percent(
    truth: tuple[float, float, float], noise: tuple[float, ...], cpus: float
) -> None:
    found = law(truth, noise)
    assert found.within_reach(cpus)
    assert found.throughput(cpus) == pytest.approx(usl(cpus, *truth), rel=TOLERANCE)


@given(TRUTHS, NOISE)
def test_a_measured_limit_is_what_was_measured(
    truth: tuple[float, float, float], noise: tuple[float, ...]
) -> None:
    found = law(truth, noise)
    for point in found.points:
        assert found.throughput(point.cpus) == pytest.approx(point.throughput)


@given(st.floats(0.1, 1e4), st.floats(1.0, 1.25), st.floats(0.5, 2))
def test_half_a_cpu_that_is_throttled_bends_no_other_prediction(
    rate: float, power: float, cpus: float
) -> None:
    """More than proportional, as where a quota of half a CPU stalls threads."""
    found = fitted([Point(n, rate * n**power) for n in MEASURED])
    assert found.throughput(cpus) == pytest.approx(rate * cpus**power, rel=TOLERANCE)


@given(st.floats(1, 1e4), st.floats(0.25, 8))
def test_one_limit_alone_is_proportional_and_out_of_reach(rate: float, cpus: float) -> None:
    found = fitted([Point(2, rate)])
    assert found.throughput(cpus) == pytest.approx(rate * cpus / 2)
    assert not found.within_reach(cpus)


@given(TRUTHS, st.lists(st.floats(0.25, 16), min_size=1, max_size=6, unique=True))
def test_more_cpus_of_a_law_without_coherence_are_never_predicted_to_be_slower(
    truth: tuple[float, float, float], limits: list[float]
) -> None:
    rate, contention, _ = truth
    assume(all(abs(a - b) > 0.01 for a in limits for b in limits if a != b))
    found = fitted([Point(n, usl(n, rate, contention, 0)) for n in limits])
    grid = [0.25 * 1.1**step for step in range(45)]
    predicted = [found.throughput(n) for n in grid]
    assert all(b >= a * (1 - 1e-6) for a, b in pairwise(predicted))


def test_with_four_limits_coherence_is_found() -> None:
    truth = (100.0, 0.05, 0.02)
    found = fitted([Point(n, usl(n, *truth)) for n in (0.5, 1, 2, 4)])
    assert found.coherence / found.linear == pytest.approx(0.02, rel=1e-6)
    assert found.throughput(8) == pytest.approx(usl(8, *truth))


def test_of_two_measurements_at_one_limit_the_better_counts() -> None:
    assert fitted([Point(1, 10), Point(1, 12)]).throughput(1) == pytest.approx(12)


def test_nothing_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fitted([])
