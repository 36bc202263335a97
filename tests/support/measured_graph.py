"""Measurements of Auto's variants with made-up figures, as mopt_api.jobs.outrun reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, ObjectiveMetric, QualityMetric
from mopt_api.figures import (
    Hardware,
    Latency,
    QualityResult,
    SourceInfo,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult
from mopt_api.jobs.outrun import Measured, hardware_digest
from mopt_api.jobs.plan import MeasurePlan, PlannedModel, baseline_variant
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_api.verdict import Compared, Stopped, Verdict

P50 = ObjectiveMetric.LATENCY_P50
GATE = QualityGate(metric=QualityMetric.PSNR, minimum=40)
FACTS = SearchFacts(model_format=ModelFormat.ONNX, calibrated=True)
POOL = {variant.name: variant for variant in contenders(FACTS)}
TRIED = list(POOL)
HERE, THERE = Hardware(cpu="one"), Hardware(cpu="other")
SLOW = (VariantState.SKIPPED, VariantReason.TOO_SLOW)
MISSED = (VariantState.REJECTED, VariantReason.QUALITY_GATE)
FAILED = (VariantState.FAILED, VariantReason.BUILD_FAILED)


def row(
    variant: Variant,
    speed: float,
    *,
    quality: float = 50.0,
    ended: tuple[VariantState, VariantReason | None] = (VariantState.PASSED, None),
    width: float = 1.01,
) -> VariantResult:
    """Return a form that is so many times as fast as the baseline, known within a factor."""
    state, reason = ended
    over = Compared(
        than="baseline", metric=P50, ratio=speed, interval=[speed / width, speed * width]
    )
    time = 100 / speed
    point = PointResult(
        point="opt",
        latency_ms=Latency(p50=time, p90=time, p99=time),
        throughput=1000 / time,
        runs=12,
        coefficient_of_variation=0.01,
        compared=[over] if variant.name != "baseline" else [],
    )
    return VariantResult(
        name=variant.name,
        runtime=variant.runtime,
        precision=variant.precision,
        state=state,
        reason=reason,
        message="probed at 9 ms" if reason is VariantReason.TOO_SLOW else None,
        speedup=speed,
        quality=[QualityResult(metric=QualityMetric.PSNR, worst=quality, mean=quality)],
        points=[point] if state in (VariantState.PASSED, VariantState.REJECTED) else [],
    )


def measured(
    speeds: Mapping[str, float | tuple[float, dict[str, Any]]],
    *,
    hardware: Hardware = HERE,
    day: int = 1,
    gates: Sequence[QualityGate] = (GATE,),
    stopped: Stopped = Stopped.DECIDED,
    weights: str = "0" * 64,
) -> Measured:
    """Return a measurement of variants of Auto's, of that day in November."""
    rows = [
        row(POOL[name], known[0], **known[1])
        if isinstance(known, tuple)
        else row(POOL[name], known)
        for name, known in speeds.items()
    ]
    passed = [each for each in rows if each.state is VariantState.PASSED]
    winner = max(passed, key=lambda each: each.speedup or 0).name if passed else "baseline"
    plan = MeasurePlan(
        target="default",
        model=PlannedModel(uri="s3://m/m", sha256=weights, format=ModelFormat.ONNX),
        prepared=f"sha256:{'0' * 64}",
        inputs=[],
        dimensions={},
        variants=list(POOL.values()),
        quality=list(gates),
        objective=Objective(),
        benchmark=Benchmark(),
        output_uri="s3://o/o",
        search=FACTS,
    )
    result = MeasureResult(
        target="default",
        source=SourceInfo(sha256=weights, format=ModelFormat.ONNX, size_bytes=1),
        prepared=f"sha256:{'0' * 64}",
        hardware=hardware,
        software={},
        baseline=row(baseline_variant(ModelFormat.ONNX), 1.0),
        variants=rows,
        selected=winner,
        verdict=Verdict(winner=winner, stopped=stopped),
        objective_point="opt",
        measured_at=f"2026-11-{day:02}T10:00:00Z",
        plan=plan.to_api(),
    )
    found = Measured.of(f"sha256:{day:064}", hardware_digest(hardware), result)
    assert found is not None
    return found
