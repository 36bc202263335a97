"""The measurement that verifies a stored one: what it asks for, and how long it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import ModelFormat, ObjectiveMetric, Precision, Runtime
from mopt_api.figures import Hardware, Latency, SourceInfo, VariantReason, VariantState
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan, PlannedModel, VerifyPlan, objective_point
from mopt_api.jobs.stored_plans import SHARE, verification_plan
from mopt_api.load import Load
from mopt_api.objective import Constraint, Objective
from mopt_api.variants import Variant

DIGEST = f"sha256:{'1' * 64}"
SOURCE = SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1000)


def form(name: str, points: list[str]) -> VariantResult:
    """Return a form that was timed at points."""
    return VariantResult(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.FP32,
        state=VariantState.PASSED if points else VariantState.FAILED,
        reason=None if points else VariantReason.TOO_SLOW,
        points=[
            PointResult(
                point=point,
                latency_ms=Latency(p50=1, p90=1, p99=1),
                throughput=1000,
                runs=10,
                coefficient_of_variation=0,
            )
            for point in points
        ],
    )


def measurement(benchmark: Benchmark, timed: int, dropped: int = 0) -> MeasureResult:
    """Return a result of so many variants that were timed, and some that were not."""
    points = [point.name for point in benchmark.points] or ["opt"]
    names = [f"v{number}" for number in range(timed + dropped)]
    plan = MeasurePlan(
        target="t",
        model=PlannedModel(uri="s3://m/m.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
        prepared=DIGEST,
        inputs=[],
        dimensions={},
        variants=[
            Variant(name=name, runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32)
            for name in names
        ],
        quality=[],
        objective=Objective(),
        benchmark=benchmark,
        output_uri="s3://out",
    )
    return MeasureResult(
        target="t",
        source=SOURCE,
        prepared=DIGEST,
        hardware=Hardware(cpu="Test"),
        software={},
        baseline=form("baseline", points),
        variants=[form(name, points if at < timed else []) for at, name in enumerate(names)],
        plan=plan.to_api(),
    )


def asked(benchmark: Benchmark, forms: int, objective: Objective | None = None) -> VerifyPlan:
    return VerifyPlan(
        target="t",
        result=DIGEST,
        forms=[f"v{number}" for number in range(forms)],
        quality=[],
        objective=objective or Objective(),
        benchmark=benchmark,
        output_uri="s3://elsewhere",
    )


def seconds(benchmark: Benchmark, participants: int) -> float:
    each = benchmark.warmup_seconds + benchmark.min_duration_seconds
    return participants * max(1, len(benchmark.points)) * each


@given(
    # From where 20 % of it is a duration that the API knows.
    duration=st.floats(0.5, 600),
    warmup=st.floats(0, 60),
    points=st.integers(0, 8),
    timed=st.integers(1, 12),
    dropped=st.integers(0, 3),
    forms=st.integers(1, 3),
)
def test_no_verification_takes_more_than_a_fifth_of_the_time(
    duration: float, warmup: float, points: int, timed: int, dropped: int, forms: int
) -> None:
    benchmark = Benchmark(
        warmup_seconds=warmup,
        min_duration_seconds=duration,
        points=[BenchmarkPoint(name=f"p{number}") for number in range(points)],
    )
    forms, dropped = min(forms, timed), min(dropped, 12 - timed)
    known = measurement(benchmark, timed, dropped)
    plan = verification_plan(asked(benchmark, forms), known)
    most = SHARE * seconds(benchmark, 1 + timed)
    assert seconds(plan.benchmark, 1 + len(plan.variants)) <= most * (1 + 1e-9)
    assert plan.benchmark.warmup_seconds <= warmup
    assert 0.1 <= plan.benchmark.min_duration_seconds <= duration
    # It is a plan as any other.
    assert MeasurePlan.model_validate(plan.to_api()) == plan


def test_it_is_the_stored_measurement_of_fewer_forms_at_one_point() -> None:
    benchmark = Benchmark(
        points=[BenchmarkPoint(name="one"), BenchmarkPoint(name="two")], load=Load()
    )
    kept = Constraint(metric=ObjectiveMetric.SIZE_BYTES, maximum="1Gi")
    objective = Objective(
        point="two",
        constraints=[Constraint(metric=ObjectiveMetric.LATENCY_P99, maximum="5ms"), kept],
    )
    plan = verification_plan(asked(benchmark, 2, objective), measurement(benchmark, 4))
    assert [variant.name for variant in plan.variants] == ["v0", "v1"]
    assert [point.name for point in plan.benchmark.points] == ["two"]
    assert objective_point(plan.objective, plan.benchmark) == "two"
    assert plan.objective.constraints == [kept]
    assert plan.benchmark.load is None
    assert plan.search is None
    assert (plan.prepared, plan.output_uri) == (DIGEST, "s3://elsewhere")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": "other"}, "is of target t, not other"),
        ({"forms": ["v0", "x", "y"]}, "has no variant x, y"),
        ({"objective": Objective(point="none")}, "has no point none"),
    ],
)
def test_what_is_not_there_is_said(changes: dict[str, object], said: str) -> None:
    benchmark = Benchmark()
    plan = asked(benchmark, 1).model_copy(update=changes)
    with pytest.raises(ValueError, match=said):
        verification_plan(plan, measurement(benchmark, 2))


@pytest.mark.parametrize("plan", [None, {"stage": "Report"}])
def test_result_of_an_older_version_is_refused(plan: dict[str, object] | None) -> None:
    known = measurement(Benchmark(), 2).model_copy(update={"plan": plan})
    with pytest.raises(ValidationError):
        verification_plan(asked(Benchmark(), 1), known)


def test_result_without_a_baseline_is_refused() -> None:
    known = measurement(Benchmark(), 2).model_copy(update={"baseline": None})
    with pytest.raises(ValueError, match="has no point opt"):
        verification_plan(asked(Benchmark(), 1), known)
