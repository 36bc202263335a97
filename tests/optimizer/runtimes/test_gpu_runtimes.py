"""Runtimes that are to compute on a GPU: what they refuse without one, and what is decided before.

What they compute on one is in tests/gpu.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from runners import opened

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_optimizer.errors import EngineOutOfMemory, EngineRunError
from mopt_optimizer.machine.nvidia_gpus import visible_gpus
from mopt_optimizer.runtimes import OutOfMemory, RuntimeFailure
from mopt_optimizer.runtimes.base import failure
from mopt_optimizer.runtimes.tensorrt import EngineRunner

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer
SHAPES = {"image": ((1, 3, 8, 8), (1, 3, 32, 32), (4, 3, 64, 64))}


@pytest.fixture(autouse=True)
def _without_gpu() -> None:
    if visible_gpus():
        pytest.skip("a GPU is here")


def refused(files: ModelFiles, runtime: Runtime, form: str, **options: Any) -> str:
    with pytest.raises(RuntimeFailure) as caught:
        opened(runtime, Precision.FP32, getattr(files, form), 1, gpu=True, **options)
    assert not isinstance(caught.value, OutOfMemory)
    return str(caught.value)


@pytest.mark.parametrize("form", ["program", "script"])
@pytest.mark.parametrize("compiled", [False, True])
def test_pytorch_says_that_it_finds_no_gpu(
    model_files: ModelFiles, form: str, compiled: bool
) -> None:
    if compiled and form == "script":
        return
    message = refused(model_files, Runtime.PYTORCH, form, compiled=compiled)
    assert "finds no NVIDIA GPU" in message


@pytest.mark.parametrize(
    ("provider", "missing"),
    [
        (None, "CUDAExecutionProvider"),
        (ExecutionProvider.CUDA, "CUDAExecutionProvider"),
        (ExecutionProvider.TENSORRT, "TensorrtExecutionProvider"),
    ],
)
def test_onnx_runtime_does_not_take_the_cpu_instead(
    model_files: ModelFiles, provider: ExecutionProvider | None, missing: str
) -> None:
    import onnxruntime

    if missing in onnxruntime.get_available_providers():
        pytest.skip("this is onnxruntime-gpu")
    message = refused(model_files, Runtime.ONNX_RUNTIME, "onnx", provider=provider)
    assert f"has no {missing}: it needs onnxruntime-gpu" in message


@pytest.mark.tensorrt
def test_tensorrt_builds_the_engine_and_then_finds_no_gpu(model_files: ModelFiles) -> None:
    pytest.importorskip("tensorrt_rtx")
    message = refused(model_files, Runtime.TENSORRT, "onnx", shapes=SHAPES)
    assert "model.engine needs an NVIDIA GPU" in message


def test_what_computes_and_is_left_on_the_cpu_is_told() -> None:
    from mopt_optimizer.runtimes.onnx_runtime.runner import left_on_cpu

    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assigned = [
        (cuda, "Conv", "first"),
        (cpu, "Shape", "sizes"),
        (cpu, "Gather", "height"),
        (cpu, "ConvInteger", "second"),
        (cpu, "FusedMatMul", "third"),
    ]
    assert left_on_cpu(assigned) == ["second (ConvInteger)", "third (FusedMatMul)"]


def test_where_onnx_runtime_put_each_node_is_known(model_files: ModelFiles) -> None:
    """The same question that is asked on a GPU, asked of the CPU."""
    import onnxruntime as ort

    from mopt_optimizer.runtimes.onnx_runtime.runner import _check_on_gpu

    settings = ort.SessionOptions()
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    cpu = "CPUExecutionProvider"
    session = ort.InferenceSession(str(model_files.onnx), settings, providers=[cpu])
    with pytest.raises(RuntimeFailure, match=rf"no kernel in {cpu} for \S+ \(\w*Conv"):
        _check_on_gpu(session, cpu)
    with pytest.raises(RuntimeFailure, match="does not start CUDAExecutionProvider"):
        _check_on_gpu(session, "CUDAExecutionProvider")


def test_the_tensorrt_provider_gets_one_profile_and_the_files_types() -> None:
    from mopt_optimizer.runtimes.onnx_runtime.settings import tensorrt_options

    found = tensorrt_options(Precision.INT8, SHAPES | {"ids": ((1, 2), (1, 2), (1, 2))})
    assert found["trt_profile_min_shapes"] == "image:1x3x8x8,ids:1x2"
    assert found["trt_profile_max_shapes"] == "image:4x3x64x64,ids:1x2"
    assert (found["trt_fp16_enable"], found["trt_int8_enable"]) == ("True", "True")
    assert tensorrt_options(Precision.FP32, SHAPES)["trt_fp16_enable"] == "False"


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "Failed to allocate memory for requested buffer of size 4096",
        "Cuda Runtime (out of memory)",
    ],
)
def test_want_of_memory_is_told_apart(words: str) -> None:
    assert isinstance(failure(f"it cannot run: {words}"), OutOfMemory)
    assert not isinstance(failure("it cannot run: no kernel"), OutOfMemory)


class Doubling:
    """An engine's runner that computes y = 2 x on the host."""

    def __init__(self) -> None:
        self.memory = self
        self.shaped = 0
        self.fed: Mapping[str, NDArray[Any]] = {}
        self.result = np.zeros(0)
        self.error: Exception | None = None

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"y": 2 * feeds["x"]}

    def set_shapes(self, _feeds: Mapping[str, NDArray[Any]]) -> None:
        self.shaped += 1

    def upload(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        self.fed = feeds

    def enqueue(self) -> None:
        if self.error is not None:
            raise self.error

    def download(self) -> None:
        self.result = 2 * self.fed["x"]

    def synchronize(self) -> None:
        pass


def test_a_bound_call_gives_the_context_its_sizes_where_others_changed_them() -> None:
    from mopt_optimizer.runtimes.tensorrt.runner import TensorRTRunner

    engine = Doubling()
    runner = TensorRTRunner(cast(EngineRunner, engine), Path("model.engine"))
    first = runner.bind({"x": np.ones(2)})
    second = runner.bind({"x": np.ones(3)})
    assert engine.shaped == 2
    for call, size in ((second, 3), (second, 3), (first, 2), (first, 2)):
        call()
        assert engine.result.tolist() == [2.0] * size
    assert engine.shaped == 3
    assert runner.run({"x": np.ones(1)})["y"].tolist() == [2.0]
    first()
    assert engine.shaped == 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EngineOutOfMemory("no workspace"), OutOfMemory),
        (EngineRunError("CUDA error: out of memory"), OutOfMemory),
        (EngineRunError("illegal address"), RuntimeFailure),
    ],
)
def test_an_engine_that_fails_says_so(error: Exception, kind: type[RuntimeFailure]) -> None:
    from mopt_optimizer.runtimes.tensorrt.runner import TensorRTRunner

    engine = Doubling()
    runner = TensorRTRunner(cast(EngineRunner, engine), Path("model.engine"))
    call = runner.bind({"x": np.ones(2)})
    engine.error = error
    with pytest.raises(RuntimeFailure, match=str(error)) as caught:
        call()
    assert type(caught.value) is kind


def test_what_a_programs_graph_makes_itself_moves_with_it(tmp_path: Path) -> None:
    import torch

    from mopt_optimizer.runtimes.pytorch.runner import placed

    class Ramp(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight + torch.arange(4, device=x.device)

    program = torch.export.export(Ramp(), (torch.ones(2, 4),))
    # A device without memory stands for the GPU.
    moved = placed(program, torch.device("meta"))
    devices = {str(node.kwargs["device"]) for node in moved.graph.nodes if "device" in node.kwargs}
    assert devices == {"meta"}
    assert {str(tensor.device) for tensor in moved.state_dict.values()} == {"meta"}
