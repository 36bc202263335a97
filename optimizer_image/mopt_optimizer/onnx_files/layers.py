"""Layers that INT8 can speed up, and their compute cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A multiply-accumulate node with the quantized nodes that follow it.

    Attributes:
        name: The leading node's name.
        op: Its operator.
        nodes: Names of all its nodes, the leading one first.
        macs: Multiply-accumulate operations of one run at the first calibration sample's size.
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class CountedLayer:
    """A Conv, ConvTranspose, Gemm or MatMul.

    Attributes:
        names: The node's and its output's: runtimes call it by one of them.
        kind: Type that the file has it in, such as INT8.
        products: Multiply-accumulates of a call.
    """

    names: frozenset[str]
    kind: str
    products: int


def find_layers(
    model: onnx.ModelProto, operators: Collection[str], shapes: Mapping[str, Shape]
) -> list[Layer]:
    """Return the layers in graph order.

    A Conv, ConvTranspose, Gemm or MatMul leads a layer; any other quantized node belongs to the
    last layer before it, or to its own if there is none.

    Args:
        operators: Types of the quantized nodes.
        shapes: Of the activations; layers with unknown shapes have 0 MACs.
    """
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    known = {**shapes, **weights}
    groups: list[list[onnx.NodeProto]] = []
    group_of: dict[str, int] = {}
    for node in model.graph.node:
        before = max((group_of[name] for name in node.input if name in group_of), default=None)
        if node.op_type in operators and (before is None or node.op_type in WEIGHTED):
            groups.append([node])
            before = len(groups) - 1
        elif node.op_type in operators and before is not None:
            groups[before].append(node)
        if before is not None:
            group_of.update(dict.fromkeys(node.output, before))
    return [
        Layer(
            name=group[0].name,
            op=group[0].op_type,
            nodes=tuple(node.name for node in group),
            macs=multiply_accumulates(group[0], known),
        )
        for group in groups
    ]


def last_nodes(model: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes behind all layers: what they compute reaches none."""
    reaching: set[str] = set()
    last: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type in WEIGHTED or not reaching.isdisjoint(node.output):
            reaching.update(node.input)
        else:
            last.add(node.name)
    return last


def multiply_accumulates(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Return the multiply-accumulate operations of a node; 0 for other kinds, or unknown shapes.

    Args:
        shapes: Of its inputs, including weights, and outputs.
    """
    if node.op_type not in WEIGHTED:
        return 0
    first, second, output = (
        shapes.get(name) for name in (node.input[0], node.input[1], node.output[0])
    )
    if second is None:
        return 0
    if node.op_type == "ConvTranspose":
        # Each input value is multiplied by the kernels of all output channels of its group.
        return math.prod(first) * math.prod(second[1:]) if first else 0
    if not output:
        return 0
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(second[1:])
    return math.prod(output) * _inner_size(node, second)


def _inner_size(node: onnx.NodeProto, second: Sequence[int]) -> int:
    """Return the number of products summed per output of a Gemm or MatMul."""
    if len(second) < 2:
        return second[0] if second else 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return second[-1] if node.op_type == "Gemm" and transposed else second[-2]
