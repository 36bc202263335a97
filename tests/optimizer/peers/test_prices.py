"""Prices that are drawn, what is recommended for them, and what is predicted of a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prices import DRAWS, LIMITS, cheapest, drawn, draws_of, prediction, target_of
from throttling import DEFAULTS, MOPT, ROUNDED_UP, command_of, ways

from mopt_api.figures import Latency, Serving
from mopt_api.jobs.load_result import LoadTrial

pytestmark = pytest.mark.optimizer


def trial(cpus: float, rate: float) -> LoadTrial:
    return LoadTrial(
        serving=Serving(instances=max(1, int(cpus)), threads=1, batch=1),
        offered=rate,
        throughput=rate,
        latency_ms=Latency(p50=5, p90=9, p99=20),
        queries=700,
        seconds=9,
        valid=True,
    )


RATES = st.tuples(*[st.floats(1, 1000).map(lambda rate: float(f"{rate:.4g}")) for _ in LIMITS])


@given(RATES)
def test_what_is_recommended_is_what_trying_all_finds(rates: tuple[float, ...]) -> None:
    found = {cpus: trial(cpus, rate) for cpus, rate in zip(LIMITS, rates, strict=True)}
    told = draws_of(found)
    assert len(told) == DRAWS
    assert [each["recommended"] for each in told] == [each["bruteForce"] for each in told]
    assert all(each["basis"] == ["Measured"] for each in told)


def test_prices_differ_and_so_does_the_cheapest() -> None:
    found = {cpus: trial(cpus, 40 * cpus) for cpus in LIMITS}
    draws = drawn(LIMITS, DRAWS)
    assert draws == drawn(LIMITS, DRAWS)
    assert {cheapest(found, prices) for prices in draws} == {target_of(cpus) for cpus in LIMITS}


def test_a_limit_that_was_not_measured_is_told_beside_its_truth() -> None:
    found = {cpus: trial(cpus, 40 * cpus) for cpus in LIMITS}
    told = prediction(found, 1.5, trial(1.5, 44))
    assert (told["basis"], told["predicted"], told["measured"]) == ("Extrapolated", 40, 44)
    assert (told["error"], told["close"]) == (-0.091, True)
    assert prediction(found, 1.5, trial(1.5, 60))["close"] is False


@pytest.mark.parametrize(
    ("cpus", "others"),
    [
        (0.5, {"one instance": "1 copy x 1 thread, batch 1"}),
        (
            1.5,
            {
                "one instance": "1 copy x 2 threads, batch 1",
                ROUNDED_UP: "2 copies x 1 thread, batch 4",
            },
        ),
        (2.0, {"one instance": "1 copy x 2 threads, batch 1"}),
    ],
)
def test_what_is_served_in_a_limit(cpus: float, others: dict[str, str]) -> None:
    best = Serving(instances=1, threads=1, batch=4)
    found = ways(cpus, best)
    assert (next(iter(found)), found[MOPT], found.pop(DEFAULTS)) == (MOPT, best, None)
    assert {name: how.in_words for name, how in list(found.items())[1:] if how} == others


def test_the_folder_alone_says_how_mopt_serves() -> None:
    serving = Serving(instances=2, threads=1, batch=4)
    program, options = command_of(MOPT, serving)
    assert list(options) == []
    assert command_of("one instance", serving) == (
        program,
        ["--instances=2", "--threads=1", "--batch=4"],
    )
    assert command_of(DEFAULTS, None)[0] != program
