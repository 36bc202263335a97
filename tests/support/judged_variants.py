"""Measured variants, and what is selected of them."""

from __future__ import annotations

import math
from typing import Any

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.figures import (
    Latency,
    LoadFigures,
    QualityReference,
    QualityResult,
    Serving,
    VariantState,
)
from mopt_api.jobs.measure_result import PointResult, VariantResult
from mopt_api.jobs.selection import Selection, select
from mopt_api.objective import Objective
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


def by_truth(baseline_psnr: float, *variants: VariantResult, **options: Any) -> Selection:
    baseline = variant("baseline", 100.0, psnr=baseline_psnr, precision=Precision.FP32)
    return choose(*variants, baseline=baseline, reference=QualityReference.GROUND_TRUTH, **options)


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
