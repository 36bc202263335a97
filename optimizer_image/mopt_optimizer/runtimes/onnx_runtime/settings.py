"""How sessions of ONNX Runtime are made: what is measured, and what a server is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mopt_api.enums import ExecutionProvider, Precision
from mopt_optimizer.runtimes.shapes import ShapeRange


@dataclass(frozen=True)
class SessionSettings:
    """Options of a session, beside its execution provider.

    Attributes:
        intra_op_threads: None leaves them out.
        sequential: Nodes run one after the other; else in parallel.
        all_optimizations: All graph optimizations; else ONNX Runtime's default.
        spinning: Whether idle threads spin.
    """

    intra_op_threads: int | None
    inter_op_threads: int = 1
    sequential: bool = True
    all_optimizations: bool = True
    spinning: bool = False


PROVIDERS = {
    ExecutionProvider.CPU: ("CPUExecutionProvider",),
    ExecutionProvider.CUDA: ("CUDAExecutionProvider",),
    # CUDA is the fallback for what TensorRT does not support.
    ExecutionProvider.TENSORRT: ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
"""Names of each execution provider, with what it falls back to."""


def tensorrt_options(precision: Precision, shapes: Mapping[str, ShapeRange]) -> dict[str, str]:
    """Return the TensorRT provider's options: one engine for all sizes, in the file's types.

    Args:
        shapes: (smallest, most frequent, largest) shape of each input.
    """
    half = precision in (Precision.FP16, Precision.INT8)
    found = {
        "trt_fp16_enable": str(half),
        "trt_int8_enable": str(precision is Precision.INT8),
        "trt_engine_cache_enable": "False",
    }
    return found | profile_options(shapes)


def profile_options(shapes: Mapping[str, ShapeRange]) -> dict[str, str]:
    """Return the TensorRT provider's options for shapes, as tensorrt_options takes them."""
    return {
        f"trt_profile_{which}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, three[index]))}"  # type: ignore[arg-type]
            for name, three in shapes.items()
        )
        for index, which in enumerate(("min", "opt", "max"))
    }
