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
    benchmark,
    quantize_model,
)
from mopt_optimizer.torch_quantization.executing import Executor

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
    assert result.quantized.size_bytes == (tmp_path / "model.pt2").stat().st_size
    assert 60 < result.size_reduction_percent < 75
    original, narrow = result.original.latency_ms, result.quantized.latency_ms
    for latency in (original, narrow):
        assert 0 < latency.p50 <= latency.p90 <= latency.p99
    assert result.speedup == pytest.approx(original.p50 / narrow.p50)
    with torch.no_grad():
        error = (model(data) - quantized(data)).abs().max()
    assert result.quality.max_abs_error == pytest.approx(float(error))
    assert result.quality.psnr_db is not None
    assert result.runs >= 7
    assert (result.compiled, result.fallback_reason) == (False, None)
    assert (result.compiled_latency_ms, result.speedup_over_compiled) == (None, None)


def test_the_compiled_original_is_timed_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Eager(Executor):
        """Compiling takes most of a minute, and is not what is tested."""

        def __init__(self, module: nn.Module, execution: Execution, what: str) -> None:
            assert execution is Execution.COMPILE
            super().__init__(module, Execution.EAGER, what)

    monkeypatch.setattr(benchmark, "Executor", Eager)
    model = nn.Sequential(nn.Linear(8, 8)).eval()
    quantizer = ModelQuantizer(QuantizationConfig(execution=Execution.EAGER))
    quantized = quantizer.quantize(model, [torch.rand(2, 8)])
    result = quantizer.benchmark_quantization(
        model, quantized, torch.rand(2, 8), 2, compiled_baseline=True
    )
    assert result.compiled_latency_ms is not None
    assert result.speedup_over_compiled == pytest.approx(
        result.compiled_latency_ms.p50 / result.quantized.latency_ms.p50
    )
    assert result.quality.psnr_db is None


def test_memory_of_a_call_is_what_it_touches() -> None:
    def call() -> None:
        torch.ones(64 * 1024 * 1024 // 4).sum()

    taken = benchmark.call_peak_bytes(call)
    if taken is None:
        pytest.skip("the kernel does not reset the peak")
    assert 50 * 1024 * 1024 < taken < 200 * 1024 * 1024


def test_one_iteration_and_a_wrong_input_are_refused(perceptron: nn.Module) -> None:
    quantizer = ModelQuantizer()
    quantized = quantize_model(perceptron, "static", [torch.rand(1, 8)], execution="eager")
    with pytest.raises(SpecError, match="num_iterations 1: at least 2"):
        quantizer.benchmark_quantization(perceptron, quantized, torch.rand(1, 8), 1)
    with pytest.raises(CalibrationError, match="the test input"):
        quantizer.benchmark_quantization(perceptron, quantized, torch.rand(1, 9), 5)
