"""compare_strategies on a small network: every row is measured, or says why it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mopt_api.enums import QualityMetric
from mopt_optimizer.compare import strategies as comparing
from mopt_optimizer.compare.strategies import STRATEGIES, Options, compare_strategies
from mopt_optimizer.compare.table import State
from mopt_optimizer.errors import DataError, NonFiniteOutput, QuantizationError, SpecError

if TYPE_CHECKING:
    import torch

    from mopt_optimizer.manager import Machine

pytestmark = pytest.mark.optimizer

ONNX_ROWS = ("ONNX", "ONNX INT8", "OpenVINO", "OpenVINO INT8", "TensorRT FP16")
SHORT = Options(
    strategies=ONNX_ROWS,
    dynamic_axes={"x": {0: "batch"}},
    warmup_seconds=0,
    min_duration_seconds=0,
)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    import torch

    torch.manual_seed(0)

    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.second = torch.nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.sigmoid(self.second(torch.relu(self.first(x))))
            return result

    return Convolutions().eval()


@pytest.fixture(scope="module")
def inputs() -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return [torch.rand(2, 3, 16, 16, generator=generator) for _ in range(3)]


def test_every_row_is_measured_or_says_why_not(
    module: torch.nn.Module, inputs: list[Any], machine: Machine
) -> None:
    table = compare_strategies(
        module, inputs[:2], calibration=inputs[2:], options=SHORT, machine=machine
    )
    assert [row.name for row in table.rows] == ["PyTorch FP32", *ONNX_ROWS]
    assert (table.samples, table.calibration_samples) == (2, 1)
    for row in table.rows[:-1]:
        assert row.state is State.MEASURED, row
        assert row.cpu_speedup is not None
        assert row.cpu_speedup > 0
        assert row.runs >= 10
        assert row.gpu_speedup is None
    psnr = {row.name: row.value(QualityMetric.PSNR) for row in table.rows}
    assert psnr["PyTorch FP32"] is None
    assert (psnr["ONNX"] or 0) > 100
    assert (psnr["OpenVINO"] or 0) > 100
    assert 25 < (psnr["ONNX INT8"] or 0) < 100
    assert table.row("PyTorch FP32").cpu_speedup == 1
    assert table.row("TensorRT FP16").state is State.NOT_MEASURED
    assert table.row("TensorRT FP16").reason == "no GPU on this machine"
    assert "not measured: no GPU on this machine" in table.render()


def test_torch_forms_are_measured(
    module: torch.nn.Module, inputs: list[Any], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mopt_optimizer import torch_quantization as quantizer

    # Eager: compiling would take most of a minute. BF16 stands for all of them.
    def eager(model: Any, kind: Any, data: Any) -> Any:
        config = quantizer.QuantizationConfig(kind, execution=quantizer.Execution.EAGER)
        return quantizer.ModelQuantizer(config).quantize(model, data)

    monkeypatch.setattr(quantizer, "quantize_model", eager, raising=False)
    options = replace(SHORT, strategies=("BF16",))
    table = compare_strategies(module, inputs, options=options, machine=machine)
    for row in table.rows[1:]:
        assert row.state is State.MEASURED, row
        assert (row.value(QualityMetric.COSINE) or 0) > 0.99
    assert table.calibration_samples is None


def test_a_strategy_that_fails_keeps_its_row(
    module: torch.nn.Module, inputs: list[Any], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(shop: Any) -> Any:
        raise QuantizationError("cannot be built\nmore")

    def stop() -> None:
        raise RuntimeError("stopped in the middle")

    def stopping(shop: Any) -> Any:
        form = comparing._torch_form(shop, shop.model, 1)
        form.bind = lambda _: stop
        return form

    monkeypatch.setitem(STRATEGIES, "FP16", ("FP16", broken))
    monkeypatch.setitem(STRATEGIES, "BF16", ("BF16", stopping))
    options = replace(SHORT, strategies=("FP16", "BF16"))
    table = compare_strategies(module, inputs, options=options, machine=machine)
    assert (table.row("FP16").state, table.row("FP16").reason) == (State.FAILED, "cannot be built")
    assert table.row("BF16").state is State.FAILED
    assert "stopped in the middle" in (table.row("BF16").reason or "")
    assert table.row("PyTorch FP32").state is State.MEASURED


@pytest.mark.parametrize(
    ("gpus", "runtimes", "reason"),
    [
        (0, {"TensorRT"}, "no GPU on this machine"),
        (1, set(), "TensorRT is not installed"),
        (1, {"TensorRT"}, "this table is measured on the CPU"),
    ],
)
def test_tensorrt_rows_say_what_is_missing(
    machine: Machine, gpus: int, runtimes: set[str], reason: str
) -> None:
    here = replace(machine, gpus=gpus, runtimes=frozenset(runtimes))
    assert comparing._not_here("TensorRT INT8", here) == reason


def test_bf16_needs_the_cpus_own(machine: Machine) -> None:
    without = replace(machine, cpu_features=frozenset({"avx2"}))
    assert "no bf16" in (comparing._not_here("OpenVINO BF16", without) or "")
    with_amx = replace(machine, cpu_features=frozenset({"amx_bf16"}))
    assert comparing._not_here("OpenVINO BF16", with_amx) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ("INT4",)}, "INT4.*not known"),
        ({"warmup_seconds": -1.0}, "0 or more"),
        ({"min_duration_seconds": -1.0}, "0 or more"),
        ({"threads": 0}, "threads 0"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Options(**changes)


def test_samples_must_be_there_and_fit(module: torch.nn.Module, machine: Machine) -> None:
    import torch

    for samples, message in (([], "no samples"), ([torch.rand(2, 4)], "not for this model")):
        with pytest.raises(DataError, match=message):
            compare_strategies(module, samples, options=SHORT, machine=machine)
    with pytest.raises(DataError, match="no calibration samples"):
        compare_strategies(
            module, [torch.rand(1, 3, 8, 8)], calibration=[], options=SHORT, machine=machine
        )


def test_a_model_that_gives_nan_is_told(machine: Machine) -> None:
    import torch

    class Logarithm(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x)

    with pytest.raises(NonFiniteOutput, match="FP32, sample 0, output 0"):
        compare_strategies(Logarithm(), [-torch.ones(2, 2)], options=SHORT, machine=machine)


def test_threads_of_torch_are_given_back(
    module: torch.nn.Module, inputs: list[Any], machine: Machine
) -> None:
    import torch

    before = torch.get_num_threads()
    options = replace(SHORT, strategies=("TensorRT FP16",), threads=before + 1)
    table = compare_strategies(module, inputs, options=options, machine=machine)
    assert table.threads == before + 1
    assert torch.get_num_threads() == before
