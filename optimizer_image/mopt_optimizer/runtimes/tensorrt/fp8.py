"""TensorRT's FP8 support: on which GPUs, for which layers, and why not for others. Pure.

Observed by building with TensorRT for RTX 1.7 for compute capabilities 8.9 and 12.0; NVIDIA's guide
states the same kernel limit for TensorRT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mopt_optimizer.onnx_files.layers import WEIGHTED
from mopt_optimizer.onnx_quantization import StaticReport

from .layers import EngineLayer, nodes_in

if TYPE_CHECKING:
    import onnx

OPERATORS = ("Conv", "Gemm", "MatMul")
LARGEST_KERNEL = 32
"""Most weights per channel pair in an FP8 Conv kernel: 5x6 and 4x8 work, 6x6 and 7x7 do not."""
OLDEST = (8, 9)
"""Oldest compute capability with FP8: Ada."""

_DEQUANTIZE = "DequantizeLinear"
_LEFT = "no Q/DQ nodes stand before it: excluded, or left out by the gate"
_NOT_TAKEN = "TensorRT computes it in another type all the same"


def has_fp8(capability: str) -> bool:
    """Return whether GPUs of a compute capability, such as 8.9, support FP8."""
    return tuple(int(part) for part in capability.split(".")) >= OLDEST


def why_not_fp8(model: onnx.ModelProto) -> dict[str, str]:
    """Return the layers that TensorRT cannot compute in FP8, each with the reason.

    Args:
        model: With named nodes and known weight shapes.
    """
    dims = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    # In a quantized file, weights are the input of DequantizeLinear.
    dims |= {
        node.output[0]: dims[node.input[0]]
        for node in model.graph.node
        if node.op_type == _DEQUANTIZE and node.input[0] in dims
    }
    found = {}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        if node.op_type not in OPERATORS:
            found[node.name] = f"TensorRT has no FP8 {node.op_type}"
        elif node.op_type == "Conv" and math.prod(dims.get(node.input[1], ())[2:]) > LARGEST_KERNEL:
            kernel = "x".join(map(str, dims[node.input[1]][2:]))
            found[node.name] = f"its kernel {kernel} has more than {LARGEST_KERNEL} weights"
    return found


@dataclass(frozen=True)
class Fp8Report:
    """Which layers of an engine compute in FP8.

    Attributes:
        layers: Conv, Gemm and MatMul nodes that layers reading FP8 compute; None if the builder
            listed no layers.
        missed: The other such nodes and ConvTranspose, each with the reason; without a layer list,
            nodes with FP8 Q/DQ are assumed to compute in FP8.
        quantized: How the file was quantized; None from a calibration cache, or if it already was.
    """

    layers: tuple[str, ...] | None
    missed: Mapping[str, str]
    quantized: StaticReport | None = None


def fp8_report(model: onnx.ModelProto, layers: Sequence[EngineLayer]) -> Fp8Report:
    """Return which layers of an engine compute in FP8.

    Args:
        model: The file that the engine was built from.
        layers: The engine's, as the builder listed them.
    """
    placed, impossible = _reading_fp8(model.graph), why_not_fp8(model)
    names = [node.name for node in model.graph.node if node.op_type in WEIGHTED]
    computed = nodes_in(layers, "FP8") if layers else placed
    return Fp8Report(
        layers=tuple(name for name in names if name in computed) if layers else None,
        missed={
            name: impossible.get(name, _NOT_TAKEN if name in placed else _LEFT)
            for name in names
            if name not in computed
        },
    )


def _reading_fp8(graph: onnx.GraphProto) -> set[str]:
    """Return the nodes whose first input is dequantized from FP8."""
    from onnx import TensorProto

    points = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT8E4M3FN}
    dequantized = {
        node.output[0]
        for node in graph.node
        if node.op_type == _DEQUANTIZE and not points.isdisjoint(node.input)
    }
    return {node.name for node in graph.node if node.input and node.input[0] in dequantized}
