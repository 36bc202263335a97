"""Who wins by rounds: for certain, in a tie, or undecided and said to be."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ObjectiveMetric, OnNoWinner, Precision, QualityMetric, Runtime
from mopt_api.figures import Latency, QualityReference, QualityResult, VariantState
from mopt_api.jobs.measure_result import PointResult, VariantResult
from mopt_api.jobs.selection import Selection, select
from mopt_api.load import Load
from mopt_api.objective import Objective
from mopt_api.percentiles import percentile_basis
from mopt_api.spec import QualityGate
from mopt_api.verdict import Compared, RunnerUp, Stopped, doubt_in_words, verdict_in_words

P50 = ObjectiveMetric.LATENCY_P50
GATE = QualityGate(metric=QualityMetric.PSNR, minimum=40)


def form(
    name: str,
    p50: float = 10.0,
    *,
    psnr: float = 50.0,
    memory: int | None = 100,
    size: int = 1000,
    metric: ObjectiveMetric = P50,
    **over: tuple[float, float],
) -> VariantResult:
    """Return a form that was compared: with its bounds over each other, by name."""
    compared = [
        Compared(
            than=other,
            metric=metric,
            ratio=(low * high) ** 0.5,
            interval=[low, high],
        )
        for other, (low, high) in over.items()
    ]
    return VariantResult(
        name=name,
        runtime=Runtime.OPENVINO,
        precision=Precision.INT8,
        state=VariantState.PASSED,
        artifact=Artifact(digest="sha256:" + "0" * 64, size_bytes=size, format=ArtifactFormat.ONNX),
        peak_memory_bytes=memory,
        quality=[QualityResult(metric=QualityMetric.PSNR, worst=psnr, mean=psnr)],
        points=[
            PointResult(
                point="opt",
                latency_ms=Latency(p50=p50, p90=p50, p99=p50),
                throughput=1000 / p50,
                runs=12,
                rounds=9,
                coefficient_of_variation=0.01,
                compared=compared,
            )
        ],
    )


BASELINE = form("baseline", 100.0)


def choose(
    *variants: VariantResult,
    baseline: VariantResult = BASELINE,
    load: Load | None = None,
    **objective: Any,
) -> Selection:
    return select(
        baseline,
        variants,
        gates=[GATE],
        objective=Objective(**objective),
        benchmark=Benchmark(load=load),
        reference=QualityReference.BASELINE,
    )


def outcome(found: Selection) -> tuple[str | None, str, list[str], list[str]]:
    told = found.verdict
    assert told is not None
    assert told.winner == found.selected
    return found.selected, told.stopped, told.ties, told.undecided


def test_a_winner_that_beats_all_others_is_decided() -> None:
    fast = form("fast", 20, baseline=(4.8, 5.2), slow=(1.7, 1.9))
    found = choose(fast, form("slow", 37, baseline=(2.5, 2.9)))
    assert outcome(found) == ("fast", Stopped.DECIDED, [], [])
    told = found.verdict
    assert told is not None
    assert told.ratio == pytest.approx((4.8 * 5.2) ** 0.5)
    assert told.interval == [4.8, 5.2]
    assert told.rounds == 9
    assert told.runner_up == RunnerUp(name="slow", ratio=(1.7 * 1.9) ** 0.5, interval=[1.7, 1.9])
    assert doubt_in_words(told) == ""
    assert verdict_in_words(told) == (
        "certain at 99%, after 9 rounds; 1.80x [1.70, 1.90] the next best, slow"
    )


def test_ratios_are_those_of_the_rounds_that_both_were_in() -> None:
    # By all calls it would be 5.
    found = choose(form("fast", 20, baseline=(3.6, 4.9)))
    assert found.variants[0].speedup == pytest.approx((3.6 * 4.9) ** 0.5)
    assert found.variants[0].speedup_interval == [3.6, 4.9]


@pytest.mark.parametrize(
    ("a", "b", "winner"),
    [
        ({"psnr": 50}, {"psnr": 51, "memory": 900, "size": 9000}, "b"),
        ({"memory": 200}, {"memory": 100, "size": 9000}, "b"),
        ({"memory": 103, "size": 2}, {"memory": 100, "size": 3}, "a"),
        ({"size": 2}, {"size": 1}, "b"),
        ({}, {}, "a"),
        ({"memory": None}, {"memory": 100}, "b"),
    ],
    ids=["quality", "memory", "memory as it varies", "size", "name", "memory not known"],
)
@pytest.mark.parametrize("faster", ["a", "b"])
def test_of_a_tie_the_same_one_wins_in_every_run(
    a: dict[str, Any], b: dict[str, Any], winner: str, faster: str
) -> None:
    over_b = {"a": (0.995, 1.015), "b": (0.985, 1.005)}[faster]
    bounds = {"a": (4.9, 5.1), "b": (4.9, 5.1)} | {faster: (4.92, 5.12)}
    one = form("a", baseline=bounds["a"], b=over_b, **a)
    found = choose(form("b", baseline=bounds["b"], **b), one)
    other = {"a": "b", "b": "a"}[winner]
    assert outcome(found) == (winner, Stopped.TIE, [other], [])
    assert found.verdict is not None
    assert doubt_in_words(found.verdict) == f"tie within 2% with {other}"


def test_what_may_be_better_is_named_with_the_best_estimate() -> None:
    fast = form("fast", 20, baseline=(4.5, 5.5), close=(0.9, 1.2))
    found = choose(fast, form("close", 21, baseline=(4.3, 5.3)))
    assert outcome(found) == ("fast", Stopped.BUDGET, [], ["close"])
    assert found.verdict is not None
    assert doubt_in_words(found.verdict) == "undecided: close may be better"
    assert verdict_in_words(found.verdict).startswith("undecided: close may be better, after 9")


def test_what_may_be_no_better_than_the_baseline_does_not_replace_it() -> None:
    found = choose(form("noisy", 95, baseline=(0.96, 1.15)))
    assert outcome(found) == ("baseline", Stopped.BUDGET, [], ["noisy"])


def test_the_baseline_wins_a_tie() -> None:
    found = choose(form("same", 99.5, psnr=90, memory=1, baseline=(0.995, 1.015)))
    assert outcome(found) == ("baseline", Stopped.TIE, ["same"], [])
    assert outcome(
        choose(form("same", 99.5, baseline=(0.995, 1.015)), on_no_winner=OnNoWinner.FAIL)
    ) == (None, Stopped.TIE, ["same"], [])


def test_the_baseline_is_kept_for_certain_where_all_are_slower() -> None:
    found = choose(form("slow", 300, baseline=(0.3, 0.4)))
    assert outcome(found) == ("baseline", Stopped.DECIDED, [], [])


def test_a_minimum_is_judged_by_the_estimate() -> None:
    found = choose(form("nearly", 60, baseline=(1.5, 1.9)), minimum_speedup=1.8)
    assert outcome(found) == ("baseline", Stopped.DECIDED, [], [])


def test_two_that_were_never_side_by_side_are_compared_through_the_baseline() -> None:
    apart = choose(form("a", 20, baseline=(4.9, 5.1)), form("b", 40, baseline=(2.4, 2.6)))
    assert outcome(apart) == ("a", Stopped.DECIDED, [], [])
    near = choose(form("a", 20, baseline=(4.0, 6.0)), form("b", 25, baseline=(3.5, 4.5)))
    assert outcome(near) == ("a", Stopped.BUDGET, [], ["b"])


def test_without_rounds_the_estimate_is_named_undecided() -> None:
    found = choose(form("old", 20), form("older", 30))
    assert outcome(found) == ("old", Stopped.BUDGET, [], ["baseline", "older"])
    assert found.verdict is not None
    assert found.verdict.interval is None


def test_intervals_of_another_figure_do_not_count() -> None:
    measured = form("a", 20, metric=ObjectiveMetric.THROUGHPUT, baseline=(4.9, 5.1))
    assert outcome(choose(measured))[1] == Stopped.BUDGET
    through = choose(measured, metric=ObjectiveMetric.COST_PER_MILLION)
    assert outcome(through) == ("a", Stopped.DECIDED, [], [])
    loaded = choose(measured, metric=ObjectiveMetric.COST_PER_MILLION, load=Load())
    assert loaded.verdict is None or loaded.verdict.interval is None


def test_sizes_are_exact() -> None:
    found = choose(
        form("small", 90, size=999), form("large", 10, size=1500), metric=ObjectiveMetric.SIZE_BYTES
    )
    assert outcome(found) == ("small", Stopped.DECIDED, [], [])
    shared = choose(
        form("b", 10, size=500), form("a", 90, size=500), metric=ObjectiveMetric.SIZE_BYTES
    )
    assert outcome(shared) == ("a", Stopped.TIE, ["b"], [])


def test_what_misses_a_gate_takes_no_part() -> None:
    found = choose(
        form("spoilt", 5, psnr=39, baseline=(19, 21)), form("good", 20, baseline=(4.9, 5.1))
    )
    assert outcome(found) == ("good", Stopped.DECIDED, [], [])


@pytest.mark.parametrize(
    ("runs", "percent", "basis"),
    [
        (63, 90, "largest of 63"),
        (64, 90, None),
        (661, 99, "largest of 661"),
        (662, 99, None),
        (None, 99, None),
    ],
)
def test_a_percentile_of_few_calls_is_called_what_it_is(
    runs: int | None, percent: int, basis: str | None
) -> None:
    assert percentile_basis(runs, percent) == basis
