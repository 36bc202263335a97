"""A model that computes the mean error of each layer in 8 bits, whose inputs are FP32's. Pure.

It is the FP32 model with each layer a second time, from what Q and DQ nodes make of the FP32 input
and weight. So the error of a layer is its own, and does not depend on which other layers are in 8
bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mopt_optimizer.onnx_files.opsets import opset

if TYPE_CHECKING:
    import onnx

CORRECTED = ("Conv", "ConvTranspose", "Gemm")
"""Layers that have a bias of their own; MatMul has none, and an Add would cost time."""

_QDQ = ("DequantizeLinear", "QuantizeLinear")
_PREFIX = "mopt_error_of/"
# ONNX Runtime's quantizer names so what it quantizes of the model's own outputs.
_RENAMED = "_QuantizeLinear_Input"
# From here on ReduceMean takes its axes as an input.
_AXES_AS_INPUT = 18


def layer_errors(
    model: onnx.ModelProto, quantized: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a model of the FP32 model's inputs, and its output for each layer, by its node's name.

    An output is what FP32 is above 8 bits on average, of each output channel. A layer whose input
    or weight is not in 8 bits, or whose bias is computed, has none.

    Args:
        model: FP32, with named nodes.
        quantized: Its Q/DQ form; nodes have the same names.
        shapes: Of activations; a layer without one has no output.
    """
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    twins = {node.name: node for node in quantized.graph.node if node.op_type in CORRECTED}
    weights = {tensor.name for tensor in model.graph.initializer}
    builder = _Builder(probe, quantized)
    found: dict[str, str] = {}
    for node in model.graph.node:
        twin = twins.get(node.name)
        rank = len(shapes.get(node.output[0], ()))
        if twin is None or not rank or not _has_own_bias(node, weights):
            continue
        inputs = [builder.narrowed(name) for name in twin.input[:2]]
        if all(inputs):
            found[node.name] = builder.error(node, [name for name in inputs if name], rank)
    return probe, found


def _has_own_bias(node: onnx.NodeProto, weights: set[str]) -> bool:
    """Return whether a layer's bias can be changed: it is a weight, or missing."""
    scaled = all(a.f for a in node.attribute if a.name == "beta")
    bias = node.input[2] if len(node.input) > 2 else ""
    return scaled and (not bias or bias in weights)


class _Builder:
    """Adds to a copy of the FP32 model."""

    def __init__(self, probe: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
        self._graph = probe.graph
        self._axes_as_input = opset(probe) >= _AXES_AS_INPUT
        self._makers = {name: node for node in quantized.graph.node for name in node.output}
        self._weights = {tensor.name: tensor for tensor in quantized.graph.initializer}
        self._known = {value.name for value in self._graph.input}
        self._known |= {tensor.name for tensor in self._graph.initializer}
        self._known |= {name for node in self._graph.node for name in node.output}
        self._copied: dict[str, str] = {}

    def narrowed(self, name: str) -> str | None:
        """Return what a dequantized value of the form is here; None where it is another one."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in _QDQ:
            return None
        return self._copy(name)

    def _copy(self, name: str) -> str | None:
        """Return the copy of a value, with the Q and DQ nodes that make it."""
        if name in self._copied:
            return self._copied[name]
        maker = self._makers.get(name)
        if maker is not None and maker.op_type in _QDQ:
            return self._copied_node(maker, name)
        if name in self._weights:
            tensor = self._graph.initializer.add()
            tensor.CopyFrom(self._weights[name])
            tensor.name = self._copied[name] = _PREFIX + name
            return self._copied[name]
        own = name if name in self._known else name.removesuffix(_RENAMED)
        return own if own in self._known else None

    def _copied_node(self, maker: onnx.NodeProto, name: str) -> str | None:
        inputs = [self._copy(one) for one in maker.input]
        if not all(inputs):
            return None
        node = type(maker)()
        node.CopyFrom(maker)
        node.name = _PREFIX + maker.name
        node.input[:] = [one for one in inputs if one]
        node.output[:] = [_PREFIX + one for one in maker.output]
        self._graph.node.append(node)
        self._copied[name] = _PREFIX + name
        return self._copied[name]

    def error(self, node: onnx.NodeProto, inputs: list[str], rank: int) -> str:
        """Add a layer with other inputs, and return the mean of what it lacks.

        Args:
            rank: Of its output.
        """
        from onnx import TensorProto, helper

        again = type(node)()
        again.CopyFrom(node)
        again.name = _PREFIX + node.name
        again.input[:2] = inputs
        narrow, difference, mean = (
            f"{_PREFIX}{node.name}/{part}" for part in ("narrow", "difference", "mean")
        )
        again.output[:] = [narrow]
        subtract = helper.make_node("Sub", [node.output[0], narrow], [difference])
        channel = rank - 1 if node.op_type == "Gemm" else 1
        axes = [axis for axis in range(rank) if axis != channel]
        if self._axes_as_input:
            name = f"{mean}/axes"
            self._graph.initializer.append(
                helper.make_tensor(name, TensorProto.INT64, [len(axes)], axes)
            )
            reduce = helper.make_node("ReduceMean", [difference, name], [mean], keepdims=0)
        else:
            reduce = helper.make_node("ReduceMean", [difference], [mean], axes=axes, keepdims=0)
        self._graph.node.extend([again, subtract, reduce])
        self._graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, None))
        return mean
