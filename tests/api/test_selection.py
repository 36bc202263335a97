"""Selection: never a rejected variant, monotone in the gates, stable on ties."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present
from pydantic import ValidationError

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import Aggregate, ObjectiveMetric, OnNoWinner, Precision, QualityMetric, Runtime
from mopt_api.figures import (
    Latency,
    LoadFigures,
    QualityReference,
    QualityResult,
    Serving,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.gates import gate_failure
from mopt_api.jobs.load_result import LoadSearch, LoadStop
from mopt_api.jobs.measure_result import QUALITY_OF_ENGINE, PointResult, VariantResult
from mopt_api.jobs.selection import Selection, select, unjudged
from mopt_api.load import Load, LoadScenario
from mopt_api.objective import Constraint, Objective
from mopt_api.spec import QualityGate

GATE = QualityGate(metric=QualityMetric.PSNR, minimum=40)


def variant(
    name: str,
    p50: float,
    *,
    psnr: float = 60.0,
    precision: Precision = Precision.INT8,
    size: int = 1000,
    state: VariantState = VariantState.PASSED,
) -> VariantResult:
    return VariantResult(
        name=name,
        runtime=Runtime.OPENVINO,
        precision=precision,
        state=state,
        artifact=Artifact(digest="sha256:" + "0" * 64, size_bytes=size, format=ArtifactFormat.ONNX),
        quality=[QualityResult(metric=QualityMetric.PSNR, worst=psnr, mean=psnr + 1)],
        points=[
            PointResult(
                point="opt",
                latency_ms=Latency(p50=p50, p90=p50 * 2, p99=p50 * 3),
                throughput=1000 / p50,
                runs=10,
                coefficient_of_variation=0.01,
            )
        ],
    )


def not_a_number(metric: QualityMetric) -> QualityResult:
    """Return a quality that no result may hold, had it got past what refuses it."""
    return QualityResult.model_construct(metric=metric, worst=math.nan, mean=math.nan)


BASELINE = variant("baseline", 100.0, precision=Precision.FP32)


def choose(
    *variants: VariantResult,
    gates: tuple[QualityGate, ...] = (GATE,),
    objective: Objective | None = None,
    baseline: VariantResult = BASELINE,
    reference: QualityReference | None = QualityReference.BASELINE,
) -> Selection:
    return select(
        baseline,
        variants,
        gates=gates,
        objective=objective or Objective(),
        benchmark=Benchmark(),
        reference=reference,
    )


def test_fastest_that_passes_wins() -> None:
    verdict = choose(variant("good", 50), variant("better", 20), variant("spoilt", 5, psnr=39.9))
    assert verdict.selected == "better"
    good, better, spoilt = verdict.variants
    assert (good.speedup, better.speedup, spoilt.speedup) == (2, 5, 20)
    assert spoilt.state is VariantState.REJECTED
    assert spoilt.reason is VariantReason.QUALITY_GATE
    assert spoilt.message == "worst PSNR 39.90 is below 40"


def test_speedup_over_fastest_fp32() -> None:
    verdict = choose(variant("ort", 50, precision=Precision.FP32), variant("int8", 10))
    assert verdict.variants[1].speedup_over_fastest_fp32 == 5
    assert present(verdict.baseline).speedup_over_fastest_fp32 == 0.5


def test_equal_speed_does_not_replace_the_baseline() -> None:
    assert choose(variant("same", 100)).selected == "baseline"


def test_below_minimum_speedup_keeps_or_fails() -> None:
    nearly = variant("nearly", 60)
    keep = Objective(minimum_speedup=2)
    fail = Objective(minimum_speedup=2, on_no_winner=OnNoWinner.FAIL)
    assert choose(nearly, objective=keep).selected == "baseline"
    assert choose(nearly, objective=fail).selected is None
    assert choose(variant("just", 50), objective=fail).selected == "just"


def test_first_of_equals_wins() -> None:
    assert choose(variant("a", 50), variant("b", 50)).selected == "a"


@pytest.mark.parametrize(
    ("metric", "winner"),
    [
        (ObjectiveMetric.LATENCY_P50, "fast"),
        (ObjectiveMetric.LATENCY_P99, "fast"),
        (ObjectiveMetric.THROUGHPUT, "fast"),
        (ObjectiveMetric.SIZE_BYTES, "small"),
        (ObjectiveMetric.PEAK_MEMORY, "baseline"),
    ],
)
def test_objective_decides(metric: ObjectiveMetric, winner: str) -> None:
    fast, small = variant("fast", 10), variant("small", 90, size=10)
    assert choose(fast, small, objective=Objective(metric=metric)).selected == winner


def test_mean_gate_looks_at_the_mean() -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=40, aggregate=Aggregate.MEAN)
    assert choose(variant("a", 10, psnr=39.5), gates=(gate,)).selected == "a"


@pytest.mark.parametrize(
    ("metric", "bounds", "value", "failure"),
    [
        (QualityMetric.PSNR, {"minimum": 40}, 40, None),
        (QualityMetric.SQNR, {"minimum": 20}, 19.996, "worst SQNR 19.996 is below 20"),
        (QualityMetric.COSINE, {"minimum": 0.9999}, 0.9998, "worst Cosine 0.99980 is below 0.9999"),
        (QualityMetric.MAX_ABS_ERROR, {"maximum": 0.001}, 0.001, None),
        (
            QualityMetric.MAX_ABS_ERROR,
            {"maximum": 0.001},
            0.0012345,
            "worst MaxAbsError 0.001234 is above 0.001",
        ),
        (QualityMetric.MAX_ABS_ERROR, {"maximum": 0}, 0, None),
        (
            QualityMetric.TOP1_AGREEMENT,
            {"minimum": 1},
            0.98,
            "worst Top1Agreement 0.9800 is below 1",
        ),
    ],
)
def test_a_gate_knows_its_better_side(
    metric: QualityMetric, bounds: dict[str, float], value: float, failure: str | None
) -> None:
    gate = QualityGate.model_validate({"metric": metric, **bounds})
    measured = not_a_number(metric).model_copy(update={"worst": value})
    assert gate_failure(gate, [measured]) == failure


def test_nan_fails_a_maximum() -> None:
    gate = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=1)
    nan = not_a_number(QualityMetric.MAX_ABS_ERROR)
    assert gate_failure(gate, [nan]) is not None


def test_unmeasured_metric_fails_its_gate() -> None:
    gate = QualityGate(metric=QualityMetric.SSIM, minimum=0.9)
    assert choose(variant("a", 10), gates=(gate,)).selected == "baseline"


def test_nan_fails_a_gate() -> None:
    nan = not_a_number(QualityMetric.PSNR)
    assert gate_failure(GATE, [nan]) is not None


@pytest.mark.parametrize("state", [VariantState.FAILED, VariantState.SKIPPED])
def test_failed_and_skipped_never_win(state: VariantState) -> None:
    verdict = choose(variant("a", 1, state=state))
    assert verdict.selected == "baseline"
    assert verdict.variants[0].state is state


def by_truth(baseline_psnr: float, *variants: VariantResult, **options: Any) -> Selection:
    baseline = variant("baseline", 100.0, psnr=baseline_psnr, precision=Precision.FP32)
    return choose(*variants, baseline=baseline, reference=QualityReference.GROUND_TRUTH, **options)


def test_by_ground_truth_the_baseline_is_gated_and_not_kept() -> None:
    verdict = by_truth(39, variant("spoilt", 10, psnr=38))
    assert verdict.selected is None
    assert present(verdict.baseline).state is VariantState.REJECTED
    assert present(verdict.baseline).reason is VariantReason.QUALITY_GATE
    assert present(verdict.baseline).message == "worst PSNR 39.00 is below 40"
    assert present(verdict.baseline).speedup == 1


def test_by_ground_truth_a_variant_may_win_though_the_baseline_is_rejected() -> None:
    verdict = by_truth(39.99, variant("lucky", 50, psnr=40.01), variant("slow", 200, psnr=41))
    assert verdict.selected == "lucky"
    assert by_truth(39.99, variant("slow", 200, psnr=41)).selected is None


def test_by_ground_truth_a_baseline_within_the_gates_is_kept() -> None:
    verdict = by_truth(40, variant("spoilt", 10, psnr=38))
    assert (verdict.selected, present(verdict.baseline).state) == ("baseline", VariantState.PASSED)
    fail = Objective(on_no_winner=OnNoWinner.FAIL)
    assert by_truth(40, variant("spoilt", 10, psnr=38), objective=fail).selected is None


def test_the_baseline_is_not_gated_by_its_own_outputs() -> None:
    bare = BASELINE.model_copy(update={"quality": []})
    for reference in (None, QualityReference.BASELINE):
        verdict = choose(baseline=bare, reference=reference)
        assert (verdict.selected, present(verdict.baseline).state) == (
            "baseline",
            VariantState.PASSED,
        )


VARIANTS = st.lists(
    st.builds(
        variant,
        st.uuids().map(str).map(lambda text: text[:8]),
        st.floats(0.1, 1000),
        psnr=st.floats(0, 200),
        state=st.sampled_from(VariantState),
    ),
    max_size=12,
    unique_by=lambda v: v.name,
)


@given(VARIANTS, st.floats(0, 200), st.floats(1, 10))
def test_winner_passed_and_nothing_that_passed_is_faster(
    variants: list[VariantResult], minimum: float, minimum_speedup: float
) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
    objective = Objective(minimum_speedup=minimum_speedup)
    verdict = choose(*variants, gates=(gate,), objective=objective)
    by_name = {v.name: v for v in verdict.variants}
    winner = by_name.get(verdict.selected or "")
    passed = [v.speedup or 0 for v in verdict.variants if v.state is VariantState.PASSED]
    if winner is None:
        assert verdict.selected == "baseline"
        assert all(s < minimum_speedup or s <= 1 for s in passed)
    else:
        assert winner.state is VariantState.PASSED
        assert winner.speedup == max(passed)
        assert winner.speedup >= minimum_speedup


@given(VARIANTS, st.floats(0, 200), st.floats(1, 10))
def test_what_was_only_built_never_wins(
    variants: list[VariantResult], minimum: float, minimum_speedup: float
) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
    objective = Objective(minimum_speedup=minimum_speedup)
    verdict = choose(*variants, gates=(gate,), objective=objective)
    built = {v.name for v in variants if v.state is VariantState.BUILT}
    assert verdict.selected not in built
    alone = select(None, variants, gates=(gate,), objective=objective, benchmark=Benchmark())
    assert (alone.selected, alone.baseline) == (None, None)
    for before, after in zip(variants, alone.variants, strict=True):
        misses = gate_failure(gate, before.quality) is not None
        judged = before.state in (VariantState.BUILT, VariantState.PASSED)
        assert after.state is (VariantState.REJECTED if judged and misses else before.state)
        assert after.speedup is None


def engine(psnr: float | None) -> VariantResult:
    message = QUALITY_OF_ENGINE if psnr is not None else "quality is not known"
    made = variant("tensorrt-fp16", 10, psnr=psnr or 0.0, state=VariantState.BUILT)
    quality = made.quality if psnr is not None else []
    return made.model_copy(update={"points": [], "message": message, "quality": quality})


def test_engine_is_rejected_by_other_gates_and_comes_back() -> None:
    def judged(engine: VariantResult, minimum: float) -> VariantResult:
        gates = (QualityGate(metric=QualityMetric.PSNR, minimum=minimum),)
        objective, benchmark = Objective(), Benchmark()
        return select(
            None, [engine], gates=gates, objective=objective, benchmark=benchmark
        ).variants[0]

    built = judged(engine(45), 40)
    assert built == engine(45)
    rejected = judged(built, 50)
    assert (rejected.state, rejected.reason) == (VariantState.REJECTED, VariantReason.QUALITY_GATE)
    assert rejected.message == "worst PSNR 45.00 is below 50"
    assert judged(unjudged(rejected, built=True), 40) == built


def test_engine_of_unknown_quality_says_so_and_stays_built() -> None:
    gates = (QualityGate(metric=QualityMetric.PSNR, minimum=40),)
    found = select(None, [engine(None)], gates=gates, objective=Objective(), benchmark=Benchmark())
    assert found.variants == [engine(None)]


@given(VARIANTS, st.floats(0, 200), st.floats(0, 200), st.sampled_from(OnNoWinner))
def test_by_ground_truth_what_is_selected_holds_every_gate(
    variants: list[VariantResult], baseline_psnr: float, minimum: float, on_no_winner: OnNoWinner
) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
    objective = Objective(on_no_winner=on_no_winner)
    verdict = by_truth(baseline_psnr, *variants, gates=(gate,), objective=objective)
    everyone = {v.name: v for v in (present(verdict.baseline), *verdict.variants)}
    if verdict.selected is None:
        rejected = present(verdict.baseline).state is VariantState.REJECTED
        assert rejected or on_no_winner is OnNoWinner.FAIL
    else:
        assert gate_failure(gate, everyone[verdict.selected].quality) is None
    # Gating the baseline never costs a variant its win.
    winner = choose(*variants, gates=(gate,), objective=objective).selected
    if winner not in ("baseline", None):
        assert verdict.selected == winner


@given(VARIANTS, st.floats(0, 200), st.floats(0, 200))
def test_a_stricter_gate_never_lets_more_pass(
    variants: list[VariantResult], one: float, other: float
) -> None:
    low, high = sorted((one, other))

    def passing(minimum: float) -> set[str]:
        gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
        verdict = choose(*variants, gates=(gate,))
        return {v.name for v in verdict.variants if v.state is VariantState.PASSED}

    assert passing(high) <= passing(low)


@given(VARIANTS, st.floats(1, 20), st.floats(1, 20))
def test_a_higher_minimum_speedup_never_lets_another_win(
    variants: list[VariantResult], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    lenient = choose(*variants, objective=Objective(minimum_speedup=low)).selected
    strict = choose(*variants, objective=Objective(minimum_speedup=high)).selected
    assert strict in (lenient, "baseline")


@given(VARIANTS, st.floats(1, 10))
def test_on_no_winner_decides_only_where_nothing_wins(
    variants: list[VariantResult], minimum_speedup: float
) -> None:
    def selected(on_no_winner: OnNoWinner) -> str | None:
        objective = Objective(minimum_speedup=minimum_speedup, on_no_winner=on_no_winner)
        return choose(*variants, objective=objective).selected

    kept, failed = selected(OnNoWinner.KEEP_BASELINE), selected(OnNoWinner.FAIL)
    assert (kept, failed) == ("baseline", None) or kept == failed


@given(VARIANTS.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_variants_decides_among_equals_only(
    orders: tuple[list[VariantResult], list[VariantResult]],
) -> None:
    one, other = (choose(*order) for order in orders)
    speed = {v.name: v.speedup for v in (present(one.baseline), *one.variants)}
    assert one.selected is not None
    assert other.selected is not None
    assert speed[one.selected] == speed[other.selected]
    assert {v.name: v for v in one.variants} == {v.name: v for v in other.variants}
    # Among equals the first: what was listed before the winner is no better and not as good.
    for verdict in (one, other):
        names = [v.name for v in verdict.variants if v.state is VariantState.PASSED]
        if verdict.selected in names:
            before = names[: names.index(verdict.selected)]
            assert all((speed[name] or 0) < (speed[verdict.selected] or 0) for name in before)


@given(VARIANTS, st.data())
def test_a_quality_that_is_nan_never_wins(
    variants: list[VariantResult], data: st.DataObject
) -> None:
    names = [v.name for v in variants]
    spoilt = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set()))
    nan = not_a_number(QualityMetric.PSNR)
    there = [v.model_copy(update={"quality": [nan]}) if v.name in spoilt else v for v in variants]
    verdict = choose(*there)
    assert verdict.selected not in spoilt
    judged = {v.name: v.state for v in verdict.variants}
    assert all(judged[name] is not VariantState.PASSED for name in spoilt)


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


def loaded(one: VariantResult, rate: float, p99: float) -> VariantResult:
    """Return a variant with figures under load, and memory."""
    figures = LoadFigures(
        scenario="Server",
        serving=Serving(instances=2, threads=1, batch=1),
        throughput=rate,
        latency_ms=Latency(p50=p99 / 3, p90=p99 / 2, p99=p99),
        queries=100,
    )
    return one.model_copy(update={"load": figures, "peak_memory_bytes": int(rate)})


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


def test_no_figure_is_infinite_or_no_number() -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValidationError, match="finite"):
            QualityResult(metric=QualityMetric.PSNR, worst=value, mean=0)


@pytest.mark.parametrize("metric", list(ObjectiveMetric))
def test_a_figure_that_is_nan_never_wins(metric: ObjectiveMetric) -> None:
    nan = variant("nan", 1, size=10**9)
    latency = Latency.model_construct(p50=math.nan, p90=math.nan, p99=math.nan)
    point = nan.points[0].model_copy(update={"latency_ms": latency, "throughput": math.nan})
    nan = nan.model_copy(update={"points": [point]})
    real = variant("real", 50, size=10)
    objective = Objective(metric=metric)
    for order in ((nan, real), (real, nan)):
        assert choose(*order, objective=objective).selected != "nan"
        expected = choose(real, objective=objective).selected
        assert choose(*order, objective=objective).selected == expected
