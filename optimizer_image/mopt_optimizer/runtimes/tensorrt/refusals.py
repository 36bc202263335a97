"""TensorRT's messages as errors that name the place and a remedy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_optimizer.errors import (
    EngineBuildError,
    EngineOutOfMemory,
    GpuNotFound,
    ModelError,
    OptimizerError,
    ParserRefusal,
)

_UNREADABLE = "MODEL_DESERIALIZE_FAILED"
# The first entry with a string found in the message gives the advice.
_REMEDIES = (
    (
        ("Plugin not found",),
        "TensorRT has no such operator: replace it by standard ONNX operators",
    ),
    (
        ("zero point is not supported", "UINT8", "uint8"),
        "TensorRT takes symmetric INT8 only: quantize with Scheme.S8S8",
    ),
    (
        ("must have same input types", "types Float and Half", "types Half and Float"),
        "a strongly typed network takes types as they are written: convert the FP32 model with "
        "convert_float, or let TensorRTOptimizer do so",
    ),
    (
        ("convert ONNX date type", "convert ONNX data type", "data type"),
        "TensorRT has no such type: cast to float32, or leave this part out of the model",
    ),
    (
        ("Error Code 4: Shape Error", "changes volume"),
        "the shapes do not fit: run the model in ONNX Runtime at this size",
    ),
)
_OTHER_REMEDY = (
    "see the operators that this TensorRT supports; a newer version, another opset, or "
    "ONNXExporter's graph passes may help"
)
_MEMORY = ("workspace limit", "OutOfMemory", "out of memory", "insufficient memory")
_DRIVER = ("CUDA driver version is insufficient", "no CUDA-capable device", "CUDA initialization")
_NO_TYPE = "HW-specific datatypes"
# Logged on every machine without a GPU, next to the actual error.
_NOISE = "checkMacros.cpp::catchCudaError"


@dataclass(frozen=True)
class ParserComplaint:
    """One parser error, as its methods return it.

    Attributes:
        code: Name of its ErrorCode.
        description: Its message.
        node: Name of the ONNX node; empty if it has none.
        operator: The node's, likewise.
        index: The node's in the file; negative if the error is about none.
    """

    code: str
    description: str
    node: str
    operator: str
    index: int


def parser_error(file: str, complaints: Sequence[ParserComplaint]) -> OptimizerError:
    """Return the error for a model that the parser rejected.

    Args:
        file: The model's name.
        complaints: In the order reported; those that name a node take precedence.
    """
    if not complaints:
        return ParserRefusal(f"{file}: TensorRT's parser refuses it without a reason")
    told = next((c for c in complaints if c.index >= 0), complaints[0])
    words = _one_line(told.description)
    if told.code == _UNREADABLE:
        return ModelError(f"{file} is not an ONNX model, or truncated: {words}")
    all_words = " ".join(c.description for c in complaints)
    remedy = next(
        (advice for signs, advice in _REMEDIES if any(sign in all_words for sign in signs)),
        _OTHER_REMEDY,
    )
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    # An error about an input names it in its message.
    where = f"node {told.node or told.index} ({told.operator})" if told.index >= 0 else "the model"
    return ParserRefusal(
        f"{file}: TensorRT's parser refuses {where}: {words}{more}; {remedy}",
        node=told.node,
        operator=told.operator,
    )


def build_error(file: str, errors: Sequence[str], *, can_target: bool) -> OptimizerError:
    """Return the error for a network that the builder failed on.

    Args:
        errors: The builder's logged errors, in order.
        can_target: Whether this TensorRT builds for GPUs that are not present.
    """
    own = [_one_line(error) for error in errors if _NOISE not in error]
    words = own[0] if own else "it gave no reason"
    if any(sign in error for sign in _MEMORY for error in own):
        return EngineOutOfMemory(
            f"{file}: TensorRT ran out of memory: {words}; raise workspace_bytes, lower the "
            "profile's largest shapes, or build on a GPU that nothing else uses"
        )
    if any(_NO_TYPE in error for error in own):
        return EngineBuildError(
            f"{file}: TensorRT builds no engine: {words}; FP8 needs compute capability 8.9 or "
            "newer: build for such GPUs, or from INT8"
        )
    if (errors and not own) or any(sign in words for sign in _DRIVER):
        return gpu_error(file, _one_line(errors[0]) if errors else words, can_target=can_target)
    return EngineBuildError(f"{file}: TensorRT builds no engine: {words}")


def gpu_error(what: str, words: str, *, can_target: bool) -> GpuNotFound:
    """Return the error for a machine without a usable GPU."""
    remedy = (
        "name compute_capabilities to build without one"
        if can_target
        else "build on a machine with the GPU and NVIDIA's driver, or with tensorrt_rtx, which "
        "builds without one"
    )
    return GpuNotFound(f"{what}: TensorRT finds no NVIDIA GPU here ({words}); {remedy}")


def _one_line(text: str) -> str:
    """Return the first informative line, without the noise of a missing GPU."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and _NOISE not in line]
    # "Invalid Node - NAME" only repeats the place; the next line has the error.
    if len(kept) > 1 and kept[0].startswith("Invalid Node"):
        kept = kept[1:]
    return (kept or lines or [""])[0].rstrip(".:; ")
