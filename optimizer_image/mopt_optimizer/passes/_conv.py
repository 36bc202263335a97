"""A convolution with constant weights, followed by arithmetic with one constant per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ._graph import constant, input_of, per_channel, sole_producer

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class ConvThenConstant:
    """What was found.

    Attributes:
        weight: Shape (out, in/group, *kernel).
        bias: Shape (out,); None where the convolution has none.
        operand: Shape (out,), what the convolution's result is combined with.
    """

    conv: ir.Node
    name: str
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    operand: NDArray[Any]


def conv_then_constant(node: ir.Node) -> ConvThenConstant | None:
    """Return a Conv that only this Add or Mul reads, and the constant on its other side."""
    for index in (0, 1):
        conv = sole_producer(node.inputs[index], "Conv")
        operand = constant(node.inputs[1 - index])
        if conv is None or operand is None:
            continue
        source, bias = conv.inputs[1], constant(input_of(conv, 2))
        weight = constant(source)
        if source is None or weight is None or (bias is None and input_of(conv, 2) is not None):
            continue
        channels = per_channel(operand, weight.ndim, weight.shape[0])
        if channels is not None:
            return ConvThenConstant(conv, str(source.name), weight, bias, channels)
    return None
