"""Which nodes read INT8, as TensorRT fuses them: layers, and what is added to their output.

ONNX Runtime's quantizer makes every reader of a quantized tensor read its dequantized form. Pools,
Concats and other nodes that TensorRT moves a Q/DQ pair across, or computes in float anyway, then
get extra quantization steps in between, and outputs lose what a network adds to its unchanged
input.

TensorRT runs Conv, Add and the following activation in one INT8 kernel if the other summand is
INT8 too and the layer's own output is not quantized before the Add.

Source: TensorRT developer guide, "Q/DQ placement recommendations": quantize the residual input in
skip connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mopt_optimizer.onnx_files.layers import WEIGHTED

if TYPE_CHECKING:
    import onnx

ADD = "Add"
_PEAK = 127
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SUFFIX = "_residual"


def place_for_layers(
    model: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    exclude: Collection[str],
    *,
    residuals: bool = True,
) -> None:
    """Let only layers read INT8, and one input of each Add that follows a quantized layer.

    If both inputs come from such layers, it is the second one. Adds of constants, Adds in
    subgraphs, and Adds of layers whose output has other readers are left unchanged.

    Args:
        model: With Q/DQ nodes before its layers; modified in place, not sorted.
        ranges: (low, high) by tensor name.
        exclude: Names of nodes that stay FP32.
        residuals: False leaves Adds unchanged.
    """
    graph = model.graph
    _restore_float_readers(graph, exclude)
    if not residuals:
        return
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    for node in list(graph.node):
        if node.op_type != ADD or node.name in exclude or len(node.input) != 2:
            continue
        fused = [_is_fusable(name, makers, readers) for name in node.input]
        if not any(fused):
            continue
        index = 0 if fused[1] and not fused[0] else 1
        name = node.input[index]
        if name not in ranges or (name not in makers and not _is_input(graph, name)):
            continue
        node.input[index] = _dequantized(graph, name, ranges[name])


def _restore_float_readers(graph: onnx.GraphProto, exclude: Collection[str]) -> None:
    """Make nodes other than quantized layers read the original float tensors."""
    makers = {name: node for node in graph.node for name in node.output}
    sources = {}
    for node in graph.node:
        quantize = makers.get(node.input[0]) if node.op_type == _DEQUANTIZE else None
        if quantize is not None and quantize.op_type == _QUANTIZE:
            sources[node.output[0]] = quantize.input[0]
    for node in graph.node:
        if node.op_type in (_QUANTIZE, *WEIGHTED) and node.name not in exclude:
            continue
        for index, name in enumerate(node.input):
            node.input[index] = sources.get(name, name)


def _is_fusable(
    name: str, makers: Mapping[str, onnx.NodeProto], readers: Mapping[str, int]
) -> bool:
    """Return whether a tensor is the output of a quantized layer with exactly one reader."""
    node = makers.get(name)
    if node is None or node.op_type not in WEIGHTED or readers[name] != 1:
        return False
    source = makers.get(node.input[0])
    return source is not None and source.op_type == _DEQUANTIZE


def _is_input(graph: onnx.GraphProto, name: str) -> bool:
    return any(value.name == name for value in graph.input)


def _dequantized(graph: onnx.GraphProto, name: str, bounds: tuple[float, float]) -> str:
    """Return the name of a tensor's dequantized INT8 form: an existing one, else a new one."""
    quantized = {n.output[0] for n in graph.node if _is(n, _QUANTIZE, name)}
    for node in graph.node:
        if node.op_type == _DEQUANTIZE and node.input[0] in quantized:
            return str(node.output[0])
    from onnx import helper, numpy_helper

    peak = max(-bounds[0], bounds[1])
    # As in ONNX Runtime's quantizer: an all-zero tensor gets scale 1, not a division by 0.
    step = np.float32(peak / _PEAK) if peak > 0 else np.float32(1)
    stem = f"{name}{_SUFFIX}"
    scale, point = f"{stem}_scale", f"{stem}_zero_point"
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(step, np.float32), scale),
            numpy_helper.from_array(np.array(0, np.int8), point),
        ]
    )
    integers, floats = f"{stem}_quantized", f"{stem}_dequantized"
    graph.node.extend(
        [
            helper.make_node(_QUANTIZE, [name, scale, point], [integers], f"{stem}_q"),
            helper.make_node(_DEQUANTIZE, [integers, scale, point], [floats], f"{stem}_dq"),
        ]
    )
    return floats


def _is(node: onnx.NodeProto, operator: str, source: str) -> bool:
    return node.op_type == operator and node.input[0] == source
