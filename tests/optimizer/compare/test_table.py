"""The strategy table as text: what is measured, failed, or not measured, and on what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mopt_api.enums import QualityMetric
from mopt_api.figures import Latency, QualityResult
from mopt_optimizer.compare.table import Row, State, StrategyTable

BASE = Row(
    "PyTorch FP32",
    "FP32",
    State.MEASURED,
    runtime="PyTorch",
    size_bytes=100,
    size_reduction_percent=0.0,
    latency_ms=Latency(p50=10, p90=11, p99=12),
    cpu_speedup=1.0,
)
FAST = replace(
    BASE,
    name="ONNX INT8",
    precision="INT8",
    runtime="ONNXRuntime",
    size_reduction_percent=74.25,
    latency_ms=Latency(p50=4, p90=5, p99=6),
    cpu_speedup=2.5,
    quality=(
        QualityResult(metric=QualityMetric.PSNR, worst=41.23, mean=43.0),
        QualityResult(metric=QualityMetric.MAX_ABS_ERROR, worst=0.01234, mean=0.01),
    ),
)
TABLE = StrategyTable(
    rows=(
        BASE,
        FAST,
        Row("FP16", "FP16", State.FAILED, reason="it broke"),
        Row("TensorRT FP16", "FP16", State.NOT_MEASURED, reason="no GPU on this machine"),
    ),
    cpu="CPU A",
    threads=2,
    samples=8,
    calibration_samples=None,
    measured_at=datetime(2026, 1, 2, tzinfo=UTC),
    input_shapes={"image": (1, 3, 8, 8)},
)


def test_markdown_has_a_row_for_each_strategy() -> None:
    assert TABLE.markdown().splitlines() == [
        "| Strategy | Runtime | Size reduction | CPU speedup | p50 ms | PSNR | MaxAbsError |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| PyTorch FP32 | PyTorch | 0.0 % | 1.00x | 10.00 | reference | reference |",
        "| ONNX INT8 | ONNXRuntime | 74.2 % | 2.50x | 4.00 | 41.23 dB | 0.01234 |",
        "| FP16 |  | failed: it broke |  |  |  |  |",
        "| TensorRT FP16 |  | not measured: no GPU on this machine |  |  |  |  |",
        "",
        "2026-01-02, CPU A, 2 threads, image 1x3x8x8; quality: worst of 8 samples against FP32, "
        "INT8 calibrated on the same samples",
    ]


def test_text_has_aligned_columns_and_the_caption() -> None:
    lines = TABLE.render().splitlines()
    assert (
        lines[0].index("Runtime") == lines[2].index("PyTorch", 8) == lines[3].index("ONNXRuntime")
    )
    assert lines[-1] == TABLE.caption()
    assert set(lines[1]) == {"-", " "}


def test_caption_tells_the_calibration_samples() -> None:
    assert "INT8 calibrated on 16 others" in replace(TABLE, calibration_samples=16).caption()


def test_rows_are_found_by_name() -> None:
    assert TABLE.row("ONNX INT8").value(QualityMetric.PSNR) == 41.23
    assert TABLE.row("PyTorch FP32").value(QualityMetric.PSNR) is None
    with pytest.raises(KeyError):
        TABLE.row("ONNX INT4")
