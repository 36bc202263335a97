"""Selection within the bounds of an objective, alone and under load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged_variants import BASELINE, GATE, choose, loaded, variant
from present import present

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ObjectiveMetric, OnNoWinner
from mopt_api.figures import (
    VariantReason,
    VariantState,
)
from mopt_api.jobs.load_result import LoadSearch, LoadStop
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.selection import select, unjudged
from mopt_api.load import Load, LoadScenario
from mopt_api.objective import Constraint, Objective

BOUND = st.one_of(
    st.builds(
        lambda metric, bound: {"metric": metric, "maximum": f"{bound:.3f}ms"},
        st.sampled_from(["LatencyP50", "LatencyP90", "LatencyP99"]),
        st.floats(0, 3000),
    ),
    st.builds(
        lambda bound: {"metric": "Throughput", "minimum": f"{bound:.3f}"}, st.floats(0, 10000)
    ),
    st.builds(lambda bound: {"metric": "SizeBytes", "maximum": bound}, st.integers(0, 2000)),
    st.builds(lambda bound: {"metric": "PeakMemory", "maximum": bound}, st.integers(0, 2000)),
)
BOUNDS = st.lists(BOUND, max_size=4, unique_by=lambda bound: bound["metric"])
LOADED = st.lists(
    st.builds(
        loaded,
        st.builds(
            variant,
            st.uuids().map(str).map(lambda text: text[:8]),
            st.floats(0.1, 1000),
            psnr=st.floats(0, 200),
            size=st.integers(1, 2000),
        ),
        st.floats(1, 10000),
        st.floats(0.1, 3000),
    ),
    max_size=8,
    unique_by=lambda v: v.name,
)


def within(one: VariantResult, bounds: list[Constraint], *, under_load: bool) -> bool:
    """Say by brute force whether a variant keeps all bounds."""
    point, load = one.points[0], present(one.load)
    latency = load.latency_ms if under_load else point.latency_ms
    values = {
        "LatencyP50": latency.p50,
        "LatencyP90": latency.p90,
        "LatencyP99": latency.p99,
        "Throughput": load.throughput if under_load else point.throughput,
        "SizeBytes": present(one.artifact).size_bytes,
        "PeakMemory": present(one.peak_memory_bytes),
    }
    return all(
        values[bound.metric] >= bound.limit
        if bound.minimum is not None
        else values[bound.metric] <= bound.limit
        for bound in bounds
    )


@given(LOADED, BOUNDS, st.sampled_from(ObjectiveMetric), st.booleans(), st.sampled_from(OnNoWinner))
def test_what_is_selected_keeps_every_constraint_and_nothing_within_them_is_better(
    variants: list[VariantResult],
    bounds: list[dict[str, object]],
    metric: ObjectiveMetric,
    under_load: bool,
    on_no_winner: OnNoWinner,
) -> None:
    objective = Objective.model_validate(
        {"metric": metric, "constraints": bounds, "onNoWinner": on_no_winner}
    )
    benchmark = Benchmark(load=Load(scenario=LoadScenario.OFFLINE) if under_load else None)
    baseline = loaded(BASELINE, 500, 300)
    verdict = select(baseline, variants, gates=[GATE], objective=objective, benchmark=benchmark)
    keeps = {
        one.name: within(one, objective.constraints, under_load=under_load)
        for one in (baseline, *variants)
    }
    judged = {one.name: one for one in (present(verdict.baseline), *verdict.variants)}
    if verdict.selected is not None:
        assert keeps[verdict.selected]
    for before in variants:
        after, good = judged[before.name], before.quality[0].worst >= 40
        reason = VariantReason.QUALITY_GATE if not good else VariantReason.CONSTRAINT
        passes = good and keeps[before.name]
        assert (after.state, after.reason) == (
            (VariantState.PASSED, None) if passes else (VariantState.REJECTED, reason)
        )
        assert unjudged(after) == before.model_copy(
            update={
                "speedup": after.speedup,
                "speedup_over_fastest_fp32": after.speedup_over_fastest_fp32,
            }
        )
    best = max(
        (judged[v.name].speedup or 0 for v in variants if judged[v.name].state == "Passed"),
        default=0.0,
    )
    kept = keeps["baseline"] and on_no_winner is OnNoWinner.KEEP_BASELINE
    if best > 1:
        assert judged[verdict.selected or ""].speedup == best
    else:
        assert verdict.selected == ("baseline" if kept else None)


@given(LOADED, st.floats(1, 3000), st.floats(1, 3000))
def test_a_tighter_constraint_never_lets_more_keep_it(
    variants: list[VariantResult], one: float, other: float
) -> None:
    def passing(most: float) -> set[str]:
        bound = {"metric": "LatencyP99", "maximum": f"{most:.6f}ms"}
        objective = Objective.model_validate({"constraints": [bound]})
        judged = choose(*variants, objective=objective).variants
        return {v.name for v in judged if v.state is VariantState.PASSED}

    low, high = sorted((one, other))
    assert passing(low) <= passing(high)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"metric": "LatencyP99", "maximum": "100ms"}, "LatencyP99 150 ms is 50.0 % above 100ms"),
        ({"metric": "LatencyP90", "maximum": "0.1s"}, None),
        ({"metric": "Throughput", "minimum": 25}, "Throughput 20.0/s is 20.0 % below 25"),
        ({"metric": "SizeBytes", "maximum": "500"}, "SizeBytes 1000 B is 100 % above 500"),
        ({"metric": "PeakMemory", "maximum": "1Gi"}, "PeakMemory was not measured"),
        ({"metric": "CostPerMillion", "maximum": "0.01"}, None),
    ],
)
def test_a_missed_constraint_says_which_and_by_how_much(
    bound: dict[str, object], words: str | None
) -> None:
    objective = Objective.model_validate({"constraints": [bound]})
    (judged,) = choose(variant("a", 50), objective=objective).variants
    assert judged.message == words
    assert (judged.state is VariantState.PASSED) == (words is None)


def test_under_load_the_single_calls_do_not_keep_a_constraint() -> None:
    bound = {"metric": "LatencyP99", "maximum": "100ms"}
    objective = Objective.model_validate({"constraints": [bound]})
    benchmark = Benchmark(load=Load())
    alone = variant("alone", 10)
    searched = LoadSearch(stopped=LoadStop.BUDGET, seconds=9, message="no rate kept the bound")
    tried = alone.model_copy(update={"name": "tried", "load_search": searched})
    verdict = select(
        BASELINE, [alone, tried], gates=[GATE], objective=objective, benchmark=benchmark
    )
    assert verdict.selected is None
    assert [v.message for v in verdict.variants] == [
        "LatencyP99 under load was not measured",
        "LatencyP99 under load was not measured; no rate kept the bound",
    ]


def test_throughput_is_that_under_load_and_latency_that_of_single_calls() -> None:
    # One is faster alone, the other serves more.
    quick, wide = loaded(variant("quick", 10), 50, 40), loaded(variant("wide", 20), 90, 40)
    for metric, winner in (
        ("Throughput", "wide"),
        ("CostPerMillion", "wide"),
        ("LatencyP50", "quick"),
    ):
        objective = Objective.model_validate({"metric": metric})
        chosen = choose(quick, wide, objective=objective, baseline=loaded(BASELINE, 9, 40))
        assert chosen.selected == winner


def test_constraints_that_are_not_there_leave_no_trace() -> None:
    assert "constraints" not in Objective().to_api()
    assert "constraints" not in Objective.model_validate({"constraints": []}).to_api()
    bound = {"metric": "LatencyP99", "maximum": "100ms"}
    there = Objective.model_validate({"constraints": [bound]})
    assert there.to_api()["constraints"] == [bound]
    assert Objective.model_validate(there.to_api()) == there
