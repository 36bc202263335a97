"""Why an engine is not loaded, in TensorRT's own words; and what is refused before work begins.

TensorRT stands in by the part of its API that loading uses; with a GPU tests/gpu has the real one.
"""

from __future__ import annotations

from contextlib import nullcontext
from enum import IntEnum, IntFlag
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mopt_optimizer.errors import (
    DamagedEngine,
    EngineRunError,
    EngineVersionMismatch,
    GpuNotFound,
    ModelError,
    OptimizerError,
    SpecError,
    UnusableEngine,
    WrongGpu,
)
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.runtimes.tensorrt import TensorRTOptimizer, TorchMemory, load_engine
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.loading import check_validity
from mopt_optimizer.runtimes.tensorrt.manifest import EngineManifest, write_engine

DATA = b"an engine"


class Validity(IntEnum):
    VALID, SUBOPTIMAL, INVALID = range(3)


class Diagnostics(IntFlag):
    """Bits as TensorRT for RTX 1.7 numbers them, by its names."""

    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    OLD_CUDA_DRIVER = 4
    OLD_CUDA_RUNTIME = 8
    INSUFFICIENT_GPU_MEMORY = 16
    MALFORMED_ENGINE = 32
    CUDA_ERROR = 64


API = SimpleNamespace(EngineValidity=Validity, EngineInvalidityDiagnostics=Diagnostics)
RTX = Backend(BackendName.TENSORRT_RTX, "1.7.1.116", API)


def answering(validity: Validity, bits: int = 0) -> Any:
    return SimpleNamespace(get_engine_validity=lambda _data: (validity, bits))


@pytest.mark.parametrize(
    ("bits", "kind", "remedy"),
    [
        (Diagnostics.MALFORMED_ENGINE, DamagedEngine, "build it again"),
        (Diagnostics.VERSION_MISMATCH, EngineVersionMismatch, "build it again"),
        (Diagnostics.UNSUPPORTED_CC, WrongGpu, "build it for this one"),
        (Diagnostics.OLD_CUDA_DRIVER, GpuNotFound, "update it"),
        (Diagnostics.OLD_CUDA_RUNTIME, UnusableEngine, "update TensorRT"),
        (Diagnostics.INSUFFICIENT_GPU_MEMORY, UnusableEngine, "than is free"),
        (Diagnostics.CUDA_ERROR, GpuNotFound, "look at nvidia-smi"),
        # Damage explains everything else.
        (Diagnostics.MALFORMED_ENGINE | Diagnostics.UNSUPPORTED_CC, DamagedEngine, "is damaged"),
        (0, UnusableEngine, "and not why"),
    ],
)
def test_each_diagnosis_is_an_error_of_its_own(
    bits: int, kind: type[OptimizerError], remedy: str
) -> None:
    with pytest.raises(OptimizerError, match=remedy) as caught:
        check_validity("model.engine", RTX, answering(Validity.INVALID, bits), DATA)
    assert type(caught.value) is kind
    assert "model.engine" in str(caught.value)


@pytest.mark.tensorrt
def test_the_diagnoses_are_rtxs_own() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    assert set(Diagnostics.__members__) <= set(rtx.EngineInvalidityDiagnostics.__members__)


@pytest.mark.parametrize("validity", [Validity.VALID, Validity.SUBOPTIMAL])
def test_what_is_valid_is_loaded(validity: Validity) -> None:
    check_validity("model.engine", RTX, answering(validity), DATA)


def test_a_tensorrt_that_cannot_be_asked_is_not() -> None:
    check_validity("model.engine", RTX, SimpleNamespace(), DATA)


def test_an_engine_that_tensorrt_does_not_take_is_told_in_its_words(
    tmp_path: Path, manifest: EngineManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class ILogger:
        pass

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, _data: bytes) -> None:
            self.logger.log(Severity.ERROR, "Error Code 2: OutOfMemory (no room for weights)\nmore")

    api = SimpleNamespace(__name__="tensorrt", ILogger=ILogger, Logger=str, Runtime=Runtime)
    backend = Backend(BackendName.TENSORRT, "11.1.0.106", api)
    changes = {"backend": BackendName.TENSORRT, "tensorrt_version": "11.1.0.106"}
    engine = tmp_path / "model.engine"
    write_engine(engine, DATA, manifest.model_copy(update=changes))
    gpus = "mopt_optimizer.runtimes.tensorrt.loading.visible_gpus"
    monkeypatch.setattr(gpus, lambda: [Gpu("NVIDIA L4", "8.9")])
    monkeypatch.setattr(
        "mopt_optimizer.runtimes.tensorrt.building._FIRST_LOGGERS", {"tensorrt": ()}
    )
    with pytest.raises(UnusableEngine, match=r"cannot load it: .*no room for weights\); build it"):
        load_engine(engine, backend)


def test_full_gpu_memory_is_told_where_tensors_are_allocated() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    def full(*_size: Any, **_options: Any) -> Any:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    cuda = SimpleNamespace(stream=nullcontext, OutOfMemoryError=OutOfMemoryError)
    # Past its constructor, which wants a GPU.
    memory = TorchMemory.__new__(TorchMemory)
    memory.__dict__.update(_torch=SimpleNamespace(cuda=cuda, empty=full, uint8=None), _stream=None)
    with pytest.raises(EngineRunError, match=r"no GPU memory for a tensor of 2147483648 bytes"):
        memory.allocate(2 << 30)


@pytest.fixture
def optimizer(monkeypatch: pytest.MonkeyPatch, rtx_stub: Backend) -> TensorRTOptimizer:
    found = TensorRTOptimizer()
    monkeypatch.setattr(found, "backend", lambda: rtx_stub)
    return found


def test_a_model_that_is_not_there_is_named(optimizer: TensorRTOptimizer, tmp_path: Path) -> None:
    for build in (optimizer.optimize_from_onnx, optimizer.build_typed):
        with pytest.raises(ModelError, match=r"none\.onnx is no file; give the path"):
            build(tmp_path / "none.onnx", tmp_path / "model.engine", {})


def test_a_folder_that_is_not_there_is_named(optimizer: TensorRTOptimizer, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"never read")
    with pytest.raises(SpecError, match=r"engine_path .*its folder does not exist; make it first"):
        optimizer.optimize_from_onnx(model, tmp_path / "none" / "model.engine", {})
