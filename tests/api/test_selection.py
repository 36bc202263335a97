"""Selection case by case: speed, gates, ground truth, engines, figures that are no number."""

from __future__ import annotations

import math

import pytest
from judged_variants import BASELINE, GATE, by_truth, choose, not_a_number, variant
from present import present
from pydantic import ValidationError

from mopt_api.benchmark import Benchmark
from mopt_api.enums import Aggregate, ObjectiveMetric, OnNoWinner, Precision, QualityMetric
from mopt_api.figures import (
    Latency,
    QualityReference,
    QualityResult,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.gates import gate_failure
from mopt_api.jobs.measure_result import QUALITY_OF_ENGINE, VariantResult
from mopt_api.jobs.selection import select, unjudged
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate


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
