"""Which nodes must read and write floats, since calibration cannot know the range of their values.

A mask that is 1 in all calibration samples adds 0 to attention scores; in use, where it is 0, it
adds the lowest float. The range observed of the sum is that of scores alone: INT8 loses the mask.
So nodes stay in FP32 that read or write such a value, or what it is mixed with, up to the next node
whose result does not follow it: Softmax, a normalization, a layer with weights. Pure.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mopt_optimizer.onnx_files.float_models import element_types

if TYPE_CHECKING:
    import onnx

# What hands values on: of all inputs, or of the first one alone.
_MIXERS = frozenset({"Add", "Concat", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum", "Where"})
_CARRIERS = frozenset(
    {
        *("Abs", "Cast", "Clip", "Dropout", "Expand", "Flatten", "Gather", "GatherElements"),
        *("GatherND", "Identity", "LeakyRelu", "Neg", "Pad", "Relu", "Reshape", "Slice", "Split"),
        *("Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze", "ScatterND"),
    }
)
_SCALERS = ("Div", "Mul")
_SHAPES = ("Shape", "Size")
_SOFTMAX = ("LogSoftmax", "Softmax")


@dataclass(frozen=True)
class Doubts:
    """Tensors that calibration did not show, or that 8 bits cannot hold, each with its reason.

    Attributes:
        constant: Inputs and other tensors that had one value only.
        infinite: Constants and activations that hold infinity or NaN.
        huge: Constants and activations of a magnitude beside which others vanish.
        fills: Follow what huge values may take the place of also where no Softmax reads it.
    """

    constant: Mapping[str, str] = field(default_factory=dict)
    infinite: Mapping[str, str] = field(default_factory=dict)
    huge: Mapping[str, str] = field(default_factory=dict)
    fills: bool = False


def kept_for(model: onnx.ModelProto, doubts: Doubts) -> dict[str, str]:
    """Return the nodes that stay FP32, with the reason for each.

    Args:
        model: With unique node names, sorted, with types inferred.
    """
    return _Following(model, doubts).kept()


class _Following:
    """Follows doubtful values through a graph, in its order."""

    def __init__(self, model: onnx.ModelProto, doubts: Doubts) -> None:
        self._graph = model.graph
        self._types = element_types(model)
        self._doubts = doubts
        weights = {tensor.name for tensor in model.graph.initializer}
        fed = [value.name for value in model.graph.input if value.name not in weights]
        self._constant = {n: r for n, r in doubts.constant.items() if n in fed}
        self._varying = {name for name in fed if name not in self._constant}
        self._mixed = {n: r for n, r in doubts.infinite.items() if n in fed}
        self._infinite = {n: r for n, r in doubts.infinite.items() if n not in fed}
        self._huge = dict(doubts.huge)
        self._doubtful = ChainMap(self._infinite, self._mixed, self._constant)
        self._before_softmax = self._softmax_reads()

    def kept(self) -> dict[str, str]:
        for node in self._graph.node:
            if node.op_type not in _SHAPES:
                self._follow(node)
        found: dict[str, str] = {}
        for node in self._graph.node:
            if reason := self._reason(node):
                found[node.name] = reason
        return found

    def _follow(self, node: onnx.NodeProto) -> None:
        reads = list(_reads(node))
        constant = [self._constant[name] for name in reads if name in self._constant]
        varies = any(name in self._varying or name in self._mixed for name in reads)
        for name in node.output:
            if not varies and not constant:
                for large in (self._infinite, self._huge):
                    if reason := self._carried(node, large):
                        large[name] = reason
            elif not varies or name in self._doubts.constant:
                self._constant[name] = self._doubts.constant.get(name) or constant[0]
            elif reason := self._doubts.infinite.get(name) or self._mixture(node, name):
                self._mixed[name] = reason
            else:
                self._varying.add(name)

    def _mixture(self, node: onnx.NodeProto, output: str) -> str | None:
        """Return why the range of what a node writes was not seen; None where it was."""
        if reason := self._carried(node, self._doubtful):
            return reason
        if output in self._before_softmax or (self._doubts.fills and node.op_type not in _SCALERS):
            return self._carried(node, self._huge)
        return None

    def _carried(self, node: onnx.NodeProto, reasons: Mapping[str, str]) -> str | None:
        """Return the reason of the first value that a node hands on."""
        names = _handed_on(node)
        if node.op_type == "Div" and node.input[1] in self._varying:
            names = ()  # What data divide is normalized, as the rest of a layer norm does.
        return next((reasons[name] for name in names if name in reasons), None)

    def _softmax_reads(self) -> Collection[str]:
        found: set[str] = set()
        for node in reversed(self._graph.node):
            if node.op_type in _SOFTMAX:
                found.add(node.input[0])
            elif not found.isdisjoint(node.output):
                found.update(_handed_on(node))
        return found

    def _reason(self, node: onnx.NodeProto) -> str | None:
        from onnx import TensorProto

        for name in (*node.output, *_reads(node)):
            is_float = self._types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT
            if is_float and name in self._doubtful:
                return self._doubtful[name]
        return None


def _handed_on(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the inputs whose values are among the outputs', or are added or multiplied there."""
    if node.op_type in _MIXERS:
        return tuple(node.input)
    if node.op_type == "Pad":
        return (node.input[0], *node.input[2:3])
    return tuple(node.input[:1]) if node.op_type in _CARRIERS else ()


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, its subgraphs too."""
    nodes = [node]
    while nodes:
        current = nodes.pop()
        yield from (name for name in current.input if name)
        for attribute in current.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else []
            for graph in (*attribute.graphs, *graphs):
                nodes += graph.node
                yield from (value.name for value in graph.output)
