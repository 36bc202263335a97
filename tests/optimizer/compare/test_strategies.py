"""compare_strategies on a small network: every row is measured, or says why it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.variants import Variant
from mopt_optimizer.compare.building import Builder, Opened
from mopt_optimizer.compare.strategies import (
    STRATEGIES,
    Options,
    compare_strategies,
    unmeasurable,
)
from mopt_optimizer.compare.table import State
from mopt_optimizer.errors import (
    DataError,
    NonFiniteOutput,
    QuantizationError,
    RuntimeFailure,
    SpecError,
)

if TYPE_CHECKING:
    import torch

    from mopt_optimizer.manager import Machine

pytestmark = pytest.mark.optimizer

ONNX_ROWS = ("onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8")
SHORT = Options(
    strategies=ONNX_ROWS,
    dynamic_axes={"x": {0: "batch"}},
    warmup_seconds=0,
    min_duration_seconds=0,
)
ENGINE = Variant(name="engine", runtime=Runtime.TENSORRT, precision=Precision.FP16)
HALF = Variant(name="half", runtime=Runtime.PYTORCH, precision=Precision.BF16)


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
    for row in table.rows:
        assert row.state is State.MEASURED, row
        assert row.cpu_speedup is not None
        assert row.cpu_speedup > 0
        assert row.runs >= 10
    psnr = {row.name: row.value(QualityMetric.PSNR) for row in table.rows}
    assert psnr["PyTorch FP32"] is None
    assert (psnr["onnxruntime-fp32"] or 0) > 100
    assert (psnr["openvino-fp32"] or 0) > 100
    assert 25 < (psnr["onnxruntime-int8"] or 0) < 100
    assert table.row("PyTorch FP32").cpu_speedup == 1
    # Both INT8 rows run one file, and so do both in FP32.
    sizes = {row.name: row.size_bytes for row in table.rows}
    assert sizes["onnxruntime-int8"] == sizes["openvino-int8"]
    assert sizes["onnxruntime-fp32"] == sizes["openvino-fp32"]


def test_forms_of_torch_are_made_as_prepare_makes_them(
    module: torch.nn.Module, inputs: list[Any], machine: Machine
) -> None:
    here = replace(machine, cpu_features=frozenset({"amx_bf16"}))
    options = replace(SHORT, variants=(HALF, ENGINE), strategies=())
    table = compare_strategies(module, inputs, options=options, machine=here)
    half, engine = table.rows[1:]
    assert half.state is State.MEASURED, half
    assert (half.value(QualityMetric.COSINE) or 0) > 0.99
    assert half.value(QualityMetric.MAX_ABS_ERROR) != 0
    # Of so small a network the file is mostly its graph, which holds the casts too.
    assert half.size_bytes != table.row("PyTorch FP32").size_bytes
    assert engine.state is State.NOT_MEASURED
    assert "needs a target with an NVIDIA GPU" in (engine.reason or "")
    assert f"not measured: {engine.reason}" in table.render()
    assert table.calibration_samples is None


def test_a_strategy_that_fails_keeps_its_row(
    module: torch.nn.Module, inputs: list[Any], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Builder.opened

    class Stopping:
        """A runner that computes, and whose bound call stops."""

        def __init__(self, runner: Any) -> None:
            self.run = runner.run

        def bind(self, _: Any) -> Any:
            def stop() -> None:
                raise RuntimeFailure("stopped in the middle")

            return stop

    def breaking(self: Builder, variant: Variant) -> Opened:
        if variant.name == "onnxruntime-int8":
            raise QuantizationError("cannot be built\nmore")
        found = opened(self, variant)
        if variant.name == "openvino-fp32":
            return replace(found, runner=Stopping(found.runner))  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(Builder, "opened", breaking)
    options = replace(SHORT, strategies=("onnxruntime-int8", "openvino-fp32"))
    table = compare_strategies(module, inputs, options=options, machine=machine)
    unbuilt, stopped = table.rows[1:]
    assert (unbuilt.state, unbuilt.reason) == (State.FAILED, "cannot be built")
    assert (stopped.state, stopped.reason) == (State.FAILED, "stopped in the middle")
    assert table.row("PyTorch FP32").state is State.MEASURED


def test_what_the_machine_lacks_is_said(machine: Machine) -> None:
    without = replace(machine, cpu_features=frozenset({"avx2"}), compiler=None)
    assert "neither avx512_bf16 nor amx_bf16" in (unmeasurable(HALF, without) or "")
    assert unmeasurable(HALF, replace(machine, cpu_features=frozenset({"amx_bf16"}))) is None
    bare = replace(machine, runtimes=frozenset({"PyTorch"}))
    by_name = {variant.name: variant for variant in STRATEGIES}
    assert unmeasurable(by_name["openvino-fp32"], bare) == "OpenVINO is not installed"
    assert "C++ compiler" in (unmeasurable(by_name["pytorch-compiled"], without) or "")
    assert unmeasurable(by_name["onnxruntime-fp32"], machine) is None


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

    with pytest.raises(NonFiniteOutput, match="FP32, sample 0: output 0"):
        compare_strategies(Logarithm(), [-torch.ones(2, 2)], options=SHORT, machine=machine)


def test_threads_of_torch_are_given_back(
    module: torch.nn.Module, inputs: list[Any], machine: Machine
) -> None:
    import torch

    before = torch.get_num_threads()
    options = replace(SHORT, strategies=(), variants=(ENGINE,), threads=before + 1)
    table = compare_strategies(module, inputs, options=options, machine=machine)
    assert table.threads == before + 1
    assert torch.get_num_threads() == before


def test_logits_that_are_infinite_in_fp32_too_are_compared(machine: Machine) -> None:
    """Suppressed tokens: -inf at the same places is equal."""
    import torch

    class Suppressed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(8, 6)
            self.register_buffer("mask", torch.tensor([0, float("-inf"), 0, 0, 0, 0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.head(x) + self.mask
            return result

    torch.manual_seed(0)
    samples = [torch.rand(4, 8) for _ in range(4)]
    options = replace(SHORT, strategies=("onnxruntime-fp32", "onnxruntime-int8"))
    table = compare_strategies(
        Suppressed().eval(), samples[:2], calibration=samples[2:], options=options, machine=machine
    )
    assert [row.state for row in table.rows] == [State.MEASURED] * 3, table.rows
    assert all(row.quality[0].worst > 20 for row in table.rows[1:])
