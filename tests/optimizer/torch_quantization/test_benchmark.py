"""benchmark_quantization: every figure, against what can be known without a clock."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import CalibrationError, SpecError
from mopt_optimizer.torch_quantization import (
    Execution,
    ModelQuantizer,
    QuantizationConfig,
    QuantizationType,
    quantize_model,
)
from mopt_optimizer.torch_quantization.benchmark import interleaved, percentiles

pytestmark = pytest.mark.optimizer


def test_all_figures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
    data = torch.rand(4, 256)
    quantizer = ModelQuantizer(
        QuantizationConfig(quantization_type=QuantizationType.STATIC, execution=Execution.EAGER)
    )
    quantized = quantizer.quantize(model, [data])
    result = quantizer.benchmark_quantization(model, quantized, data, 7, data_range=1.0)
    quantized.save(tmp_path / "model.pt2")
    assert result["quantized_size_bytes"] == (tmp_path / "model.pt2").stat().st_size
    assert 60 < result["size_reduction_percent"] < 75
    for name in ("original", "quantized"):
        latency = result[f"{name}_latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
        assert result[f"{name}_peak_memory_bytes"] is None or (
            result[f"{name}_peak_memory_bytes"] >= 0
        )
    assert result["speedup"] == pytest.approx(
        result["original_latency_ms"]["p50"] / result["quantized_latency_ms"]["p50"]
    )
    with torch.no_grad():
        error = (model(data) - quantized(data)).abs().max()
    assert result["quality"]["max_abs_error"] == pytest.approx(float(error))
    assert set(result["quality"]) == {"sqnr_db", "cosine", "max_abs_error", "psnr_db"}
    assert (result["iterations"], result["compiled"], result["fallback_reason"]) == (7, False, None)


def test_calls_take_turns_and_are_counted() -> None:
    order: list[str] = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = interleaved(calls, 12)
    assert {name: len(values) for name, values in times.items()} == {"a": 12, "b": 12}
    # Three to warm up, then turns of five after one that is not counted: ab, ba, ab.
    assert "".join(order) == "aaabbb" + "a" * 6 + "b" * 12 + "a" * 9 + "b" * 3


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([1_000_000, 2_000_000, 3_000_000])["p50"] == 2.0


def test_one_iteration_and_a_wrong_input_are_refused(perceptron: nn.Module) -> None:
    quantizer = ModelQuantizer()
    quantized = quantize_model(perceptron, "static", [torch.rand(1, 8)], execution="eager")
    with pytest.raises(SpecError, match="num_iterations 1: at least 2"):
        quantizer.benchmark_quantization(perceptron, quantized, torch.rand(1, 8), 1)
    with pytest.raises(CalibrationError, match="the test input"):
        quantizer.benchmark_quantization(perceptron, quantized, torch.rand(1, 9), 5)
