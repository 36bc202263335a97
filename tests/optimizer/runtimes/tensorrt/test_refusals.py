"""TensorRT's words become errors that name node, operator and remedy.

The words are TensorRT for RTX 1.7's own; test_building provokes the same from the library.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mopt_optimizer.errors import (
    EngineBuildError,
    EngineOutOfMemory,
    GpuNotFound,
    ModelError,
    OptimizerError,
    ParserRefusal,
)
from mopt_optimizer.runtimes.tensorrt import TensorRTConfig
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.building import build_engine
from mopt_optimizer.runtimes.tensorrt.refusals import (
    ParserComplaint,
    build_error,
    gpu_error,
    parser_error,
)

NOISE = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35: CUDA driver "
    "version is insufficient for CUDA runtime version)"
)


def complaint(description: str, *, code: str = "INVALID_NODE", index: int = 4) -> ParserComplaint:
    about = ("conv_4", "Conv") if index >= 0 else ("", "")
    return ParserComplaint(code, description, *about, index)


@pytest.mark.parametrize(
    ("description", "remedy"),
    [
        ('creator && "Plugin not found, are the plugin name correct?"', "standard ONNX operators"),
        ("Assertion failed: Non-zero zero point is not supported.", "Scheme.S8S8"),
        ("SUM must have same input types. But they are Float and Half", "convert_float"),
        ("Failed to convert ONNX date type to TensorRT data type.", "cast to float32"),
        ("Error Code 4: Shape Error (reshape changes volume)", "run the model in ONNX Runtime"),
        ("something new", "see the operators that this TensorRT supports"),
    ],
)
def test_a_refused_node_is_named_with_a_remedy(description: str, remedy: str) -> None:
    error = parser_error("model.onnx", [complaint(description)])
    assert isinstance(error, ParserRefusal)
    assert (error.node, error.operator) == ("conv_4", "Conv")
    assert "model.onnx: TensorRT's parser refuses node conv_4 (Conv): " in str(error)
    assert remedy in str(error)
    assert not error.retryable


def test_the_complaint_that_names_a_node_comes_first() -> None:
    about_input = complaint("Failed to convert ONNX data type", index=-1)
    error = parser_error("m.onnx", [about_input, complaint("false")])
    assert "node conv_4 (Conv): false (and 1 more); TensorRT has no such type" in str(error)


def test_a_complaint_about_no_node_is_about_the_model() -> None:
    error = parser_error("m.onnx", [complaint("too many outputs", index=-1)])
    assert "refuses the model: too many outputs" in str(error)


def test_a_node_without_a_name_is_told_by_its_number() -> None:
    error = parser_error("m.onnx", [ParserComplaint("INVALID_NODE", "bad", "", "Add", 7)])
    assert "node 7 (Add)" in str(error)


def test_what_only_repeats_the_place_is_left_out() -> None:
    words = f"Invalid Node - conv_4\nITensor::getDimensions: types differ.\n{NOISE}"
    error = parser_error("m.onnx", [complaint(words)])
    assert "(Conv): ITensor::getDimensions: types differ;" in str(error)
    assert "cudaError" not in str(error)


def test_an_unreadable_file_is_a_bad_model() -> None:
    error = parser_error(
        "m.onnx", [complaint("Failed to parse", code="MODEL_DESERIALIZE_FAILED", index=-1)]
    )
    assert type(error) is ModelError
    assert "not an ONNX model, or truncated" in str(error)


def test_a_refusal_without_a_word_is_still_one() -> None:
    error = parser_error("m.onnx", [])
    assert isinstance(error, ParserRefusal)
    assert "m.onnx: TensorRT's parser refuses it without a reason" in str(error)


@pytest.mark.parametrize(
    ("errors", "kind", "words"),
    [
        (
            ["Error Code 1: Myelin (no tactics to implement the operation within workspace limit)"],
            EngineOutOfMemory,
            "raise workspace_bytes",
        ),
        (["Requested amount of GPU memory", "CUDA out of memory"], EngineOutOfMemory, "largest"),
        (["Error Code 4: API Usage Error (Dimension mismatch)"], EngineBuildError, "Dimension mis"),
        ([NOISE], GpuNotFound, "name compute_capabilities"),
        ([NOISE, "Error Code 9: Internal Error (no tactic)"], EngineBuildError, "no tactic"),
        ([], EngineBuildError, "it gave no reason"),
    ],
)
def test_a_failed_build_says_why(errors: list[str], kind: type[OptimizerError], words: str) -> None:
    error = build_error("m.onnx", errors, can_target=True)
    assert type(error) is kind
    assert words in str(error)


def test_a_builder_that_needs_a_gpu_and_has_none_says_so() -> None:
    """What `tensorrt` does without a driver: it logs, and pybind finds no object."""

    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class ILogger:
        pass

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    def builder(logger: Any) -> None:
        logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    def runtime(_logger: Any) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    api = SimpleNamespace(
        __name__="tensorrt", ILogger=ILogger, Logger=str, Runtime=runtime, Builder=builder
    )
    backend = Backend(BackendName.TENSORRT, "11.4.0.106", api)
    with pytest.raises(GpuNotFound, match=r"model\.onnx.*initialization failure.*tensorrt_rtx"):
        build_engine(Path("model.onnx"), {}, TensorRTConfig(), backend)


def test_without_a_gpu_the_remedy_is_what_this_tensorrt_can_do() -> None:
    assert "compute_capabilities" in str(gpu_error("m", "no driver", can_target=True))
    other = gpu_error("m", "no driver", can_target=False)
    assert "tensorrt_rtx" in str(other)
    assert other.retryable
