"""What samples say of others: against counting, and against draws from known populations."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from math import comb, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.metrics import METRICS
from mopt_api.unseen import LEAST_SAMPLES, share_that_may_miss, tolerance, tolerance_rank


def at_most(count: int, samples: int, share: float) -> float:
    """Return the binomial distribution function, summed term by term."""
    return sum(comb(samples, k) * share**k * (1 - share) ** (samples - k) for k in range(count + 1))


@pytest.mark.parametrize(
    ("samples", "rank"), [(0, 0), (1, 0), (58, 0), (59, 1), (92, 1), (93, 2), (124, 3), (400, 13)]
)
def test_rank_of_the_tolerance(samples: int, rank: int) -> None:
    # As in tables of Wilks' limits: 59, 93 and 124 samples for the worst, second and third worst.
    assert tolerance_rank(samples) == rank


def test_least_samples_are_those_whose_worst_is_a_tolerance() -> None:
    assert [tolerance_rank(n) for n in (LEAST_SAMPLES - 1, LEAST_SAMPLES)] == [0, 1]


@given(st.integers(0, 300), st.floats(0.01, 0.5), st.floats(0.5, 0.999))
def test_rank_is_the_last_that_is_sure_enough(samples: int, share: float, sure: float) -> None:
    rank = tolerance_rank(samples, share, sure)
    assert 0 <= rank <= samples
    slack = 1e-9
    if rank:
        assert 1 - at_most(rank - 1, samples, share) >= sure - slack
    if rank < samples:
        assert 1 - at_most(rank, samples, share) < sure + slack


@given(st.integers(1, 200), st.data())
def test_share_that_may_miss_is_where_so_few_misses_become_improbable(
    samples: int, data: st.DataObject
) -> None:
    misses = data.draw(st.integers(0, samples))
    share = share_that_may_miss(misses, samples)
    assert misses / samples <= share <= 1
    if misses < samples:
        assert at_most(misses, samples, share) == pytest.approx(0.05, abs=1e-6)
        assert share < share_that_may_miss(misses + 1, samples)
        assert share_that_may_miss(misses, samples + 1) < share


def test_without_a_miss_three_by_the_number_may() -> None:
    # The rule of three.
    assert share_that_may_miss(0, 300) == pytest.approx(3 / 300, rel=0.01)


@pytest.mark.parametrize("metric", [QualityMetric.PSNR, QualityMetric.MAX_ABS_ERROR])
def test_tolerance_is_counted_from_the_worst(metric: QualityMetric) -> None:
    values = [float(value) for value in random.Random(1).sample(range(1000), 124)]
    worst_first = sorted(values, reverse=not METRICS[metric].higher_is_better)
    assert tolerance(metric, values) == worst_first[2]
    assert tolerance(metric, values[: LEAST_SAMPLES - 1]) is None
    assert tolerance(metric, [*values, nan]) is None


@pytest.mark.parametrize("samples", [59, 100, 300])
@pytest.mark.parametrize("shape", ["uniform", "heavy", "lumpy"])
def test_at_most_one_in_twenty_tolerances_promises_too_much(samples: int, shape: str) -> None:
    rng = random.Random(f"{samples} {shape}")
    draws: dict[str, Callable[[], float]] = {
        "uniform": rng.random,
        "heavy": lambda: rng.paretovariate(0.7),
        "lumpy": lambda: float(rng.choice((1, 1, 1, 2, 50))),
    }
    population = sorted(draws[shape]() for _ in range(20_000))
    broken = 0
    runs = 1000
    for _ in range(runs):
        found = tolerance(QualityMetric.PSNR, rng.sample(population, samples))
        assert found is not None
        broken += bisect_left(population, found) > 0.05 * len(population)
    # Three standard deviations of 1,000 runs above one in twenty.
    assert broken <= 0.05 * runs + 3 * (runs * 0.05 * 0.95) ** 0.5


def test_result_shows_the_tolerance_that_it_states_or_that_its_samples_show() -> None:
    values = [float(value) for value in range(100)]
    result = QualityResult(metric=QualityMetric.PSNR, worst=0.0, mean=49.5, per_sample=values)
    assert [result.value(aggregate) for aggregate in Aggregate] == [0.0, 49.5, 1.0]
    stated = result.model_copy(update={"per_sample": None, "tolerance": 7.0})
    assert stated.value(Aggregate.TOLERANCE) == 7.0
    assert stated.model_copy(update={"tolerance": None}).value(Aggregate.TOLERANCE) is None
