"""A variant's figures are the same wherever it is reported."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.figures import Latency, QualityResult, VariantFigures, VariantState, converted
from mopt_api.jobs.measure_result import PointResult, VariantResult
from mopt_api.jobs.termination import VariantSummary, summarize_variant
from mopt_api.status import VariantStatus

LATENCY = Latency(p50=1.23456, p90=2.0, p99=3.0)
RESULT = VariantResult(
    name="fast",
    runtime=Runtime.OPENVINO,
    precision=Precision.INT8,
    state=VariantState.PASSED,
    speedup=2.345678,
    peak_memory_bytes=123456789,
    quality=[
        QualityResult(
            metric=QualityMetric.PSNR, worst=41.234567, mean=43.0, per_sample=[41.234567, 44.765]
        )
    ],
    points=[
        PointResult(
            point="opt",
            latency_ms=LATENCY,
            throughput=1000 / 3,
            runs=9,
            coefficient_of_variation=0.1,
        )
    ],
)


@pytest.mark.parametrize("kind", [VariantResult, VariantSummary, VariantStatus])
def test_every_report_has_every_figure(kind: type[VariantFigures]) -> None:
    assert set(VariantFigures.model_fields) <= set(kind.model_fields)
    assert len(VariantFigures.model_fields) >= 2


def test_a_summary_rounds_what_it_copies_and_leaves_single_samples_out() -> None:
    summary = summarize_variant(RESULT, "opt")
    assert summary.latency_ms == Latency(p50=1.235, p90=2.0, p99=3.0)
    assert (summary.speedup, summary.throughput) == (2.346, 333.3)
    assert summary.peak_memory_bytes == 123456789
    (quality,) = summary.quality
    assert (quality.worst, quality.per_sample) == (41.235, None)
    assert summarize_variant(RESULT, "other").latency_ms is None


def test_a_status_has_all_of_a_summary_that_it_shows() -> None:
    summary = summarize_variant(RESULT, "opt")
    status = converted(summary, VariantStatus, size_bytes=7, size_reduction_percent=50.0)
    assert status.to_api() == summary.to_api() | {"sizeBytes": 7, "sizeReductionPercent": 50.0}


def test_a_status_of_a_newer_version_is_no_result() -> None:
    status = converted(summarize_variant(RESULT, "opt"), VariantStatus)
    assert converted(status, VariantResult).runtime is Runtime.OPENVINO
    newer = status.model_copy(update={"state": "Postponed"})
    with pytest.raises(ValidationError, match="state"):
        converted(newer, VariantResult)
