"""When a trial counts, which batches there are, and what LoadGen's log says."""

from __future__ import annotations

import math

import pytest

from mopt_api.enums import DType, ObjectiveMetric
from mopt_api.figures import Latency
from mopt_api.inputs import DerivedRange, DimensionRange, InputSpec
from mopt_api.load import LoadScenario
from mopt_api.objective import Constraint
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.load.batches import batch_sizes, joined_axes, sample_sizes
from mopt_optimizer.load.outcome import outcome_of
from mopt_optimizer.load.rules import Bound, full_seconds, requests_needed, rules_for

pytestmark = pytest.mark.optimizer

INPUTS = [
    InputSpec(name="ids", shape=["batch", "tokens"], dtype=DType.INT64),
    InputSpec(name="scale", shape=[], dtype=DType.FLOAT32),
]
TOKENS = DimensionRange(min=1, opt=16, max=32)


@pytest.mark.parametrize(("percentile", "requests"), [(50, 11), (90, 64), (99, 662)])
def test_requests_are_as_many_as_mlperf_asks_for(percentile: int, requests: int) -> None:
    assert requests_needed(percentile) == requests  # 662 is in MLPerf's own rules, for p99.


def at_most(**milliseconds: int) -> list[Constraint]:
    return [
        Constraint(metric=ObjectiveMetric(f"Latency{name}"), maximum=f"{value}ms")
        for name, value in milliseconds.items()
    ]


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        (at_most(P50=10), True),
        (at_most(P90=10), True),
        (at_most(P99=10), False),
        (at_most(P50=10, P99=30), True),
        (at_most(P99=30, P90=4), False),
        (at_most(P99=10, P50=2), False),
    ],
)
def test_latencies_are_within_all_bounds(bounds: list[Constraint], kept: bool) -> None:
    bound = Bound.of(bounds)
    assert bound is not None
    assert bound.kept_by(Latency(p50=1, p90=5, p99=20)) is kept


def test_loadgen_judges_by_the_highest_percentile() -> None:
    bound = Bound.of(at_most(P99=30, P50=10))
    assert bound is not None
    assert (bound.percentile, bound.milliseconds, bound.tightest_ms) == (99, 30, 10)
    assert str(bound) == "p99 within 30 ms and p50 within 10 ms"
    assert Bound.of([]) is None


def test_a_slow_service_takes_as_long_as_its_requests() -> None:
    bound = Bound(99, 50)
    assert full_seconds(10, bound, 1000) == 10
    assert full_seconds(10, bound, 6.62) == pytest.approx(100)
    assert full_seconds(10, None, 0.1) == 10
    rules = rules_for(LoadScenario.SERVER, 6.62, 10, bound, full=True)
    assert (rules.requests, rules.seconds, rules.percentile) == (662, 10, 0.99)
    assert rules_for(LoadScenario.SERVER, 5, 10, bound, full=False).seconds == 2
    assert rules_for(LoadScenario.OFFLINE, 5, 1, None, full=False).requests == 1


@pytest.mark.parametrize(
    ("batch", "maximum", "sizes"),
    [
        (DimensionRange(min=1, opt=1, max=64), 8, (1, 2, 4, 8)),
        (DimensionRange(min=1, opt=1, max=6), 8, (1, 2, 4, 6)),
        (DimensionRange(min=1, opt=1, max=1), 8, (1,)),
        (DimensionRange(min=2, opt=2, max=8), 8, (1,)),
        (None, 8, (1,)),
    ],
)
def test_batches_are_those_the_model_takes(
    batch: DimensionRange | None, maximum: int, sizes: tuple[int, ...]
) -> None:
    dimensions = {"tokens": TOKENS} | ({"batch": batch} if batch else {})
    assert batch_sizes(INPUTS, dimensions, maximum) == sizes


def test_a_dimension_that_depends_on_the_batch_rules_batches_out() -> None:
    rows = DerivedRange(min=2, opt=2, max=9, sum_of=["batch"], plus=1)
    batch = DimensionRange(min=1, opt=1, max=8)
    assert batch_sizes(INPUTS, {"batch": batch, "rows": rows, "tokens": TOKENS}, 8) == (1,)


def test_a_request_is_one_sample_of_the_points_other_sizes() -> None:
    batch = DimensionRange(min=1, opt=4, max=8)
    assert joined_axes(INPUTS) == {"ids": 0}
    sizes = {"batch": 4, "tokens": 7}
    assert sample_sizes(sizes, {"batch": batch, "tokens": TOKENS}) == {"batch": 1, "tokens": 7}
    fixed = DimensionRange(min=4, opt=4, max=8)
    assert sample_sizes(sizes, {"batch": fixed, "tokens": TOKENS}) == sizes


@pytest.mark.parametrize("log", ["", ':::MLLOG {"key": "result_validity", "value": "VALID"}'])
def test_a_test_without_an_end_has_no_outcome(log: str) -> None:
    with pytest.raises(RuntimeFailure, match="LoadGen's log tells no result"):
        outcome_of(log)


def test_what_is_needed_is_the_fewest() -> None:
    for percentile in (50, 90, 99):
        count, over = requests_needed(percentile), 1 - percentile / 100
        fewer = count - 1
        chance = (1 - over) ** fewer + fewer * over * (1 - over) ** (fewer - 1)
        assert chance > 0.01
        assert math.isfinite(chance)
