"""What an ONNX file computes, whatever it was trained to: the digest of its graph.

Two trainings of one architecture have the same digest; another width, another kernel or another
upscaling has another one. Names of nodes and of values inside do not matter, those of inputs and
outputs do. Values of weights do not matter: only their types and shapes do, but for small integers,
which are shapes, axes and pads, and for the scales of Resize.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir

_SMALL = 1024
"""Elements: more integers than that are a table, which is trained."""
_STRUCTURAL = frozenset({"INT64", "INT32", "BOOL"})
"""Types of shapes, axes and pads; weights have fewer bits."""
_SCALES = {"Resize": 2, "Upsample": 1}
"""Operators with an input of floats that says how large the output is, and which one it is."""

Fields = list[Any]


def graph_digest(path: Path) -> str:
    """Return the digest of an ONNX file's graph, as 64 hex digits; reads no large weight."""
    import onnx_ir as ir

    model = ir.load(path)
    graph = _Graph()
    lines = [
        [sorted(model.graph.opset_imports.items())],
        *(
            [str(identifier), *graph.body(function)]
            for identifier, function in sorted(model.functions.items())
        ),
        *graph.body(model.graph),
        ["inputs", [value.name for value in model.graph.inputs]],
        ["outputs", [value.name for value in model.graph.outputs]],
    ]
    digest = hashlib.sha256()
    for line in lines:
        digest.update(json.dumps(line, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


class _Graph:
    """Numbers values in the order in which they first appear, so that names do not matter."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def body(self, graph: ir.Graph | ir.Function) -> Iterator[Fields]:
        """Yield what there is of a graph or function: its inputs, nodes and outputs."""
        yield ["takes", [self._number(value) for value in graph.inputs]]
        yield [_kind(value) for value in graph.inputs]
        for node in graph:
            yield self._node(node)
        yield ["gives", [self._read(value) for value in graph.outputs]]

    def _node(self, node: ir.Node) -> Fields:
        scales = _SCALES.get(node.op_type)
        return [
            [node.domain, node.op_type, node.overload],
            [self._read(value, whole=i == scales) for i, value in enumerate(node.inputs)],
            [[self._number(value), *_kind(value)] for value in node.outputs],
            [self._attribute(node.attributes[name]) for name in sorted(node.attributes)],
        ]

    def _read(self, value: ir.Value | None, *, whole: bool = False) -> Any:
        """Return what a node reads: the number of a value, and of a weight what it is.

        Args:
            whole: Its values count, whatever their type.
        """
        if value is None:
            return None
        known = id(value) in self._numbers
        number = self._number(value)
        if known or value.const_value is None or value.producer() is not None:
            return number
        return [number, _tensor(value.const_value, whole=whole)]

    def _number(self, value: ir.Value) -> int:
        return self._numbers.setdefault(id(value), len(self._numbers))

    def _attribute(self, attribute: ir.Attr) -> Fields:
        import onnx_ir as ir

        named = [attribute.name, attribute.type.name, attribute.ref_attr_name]
        if attribute.is_ref():
            return named
        match attribute.type:
            case ir.AttributeType.GRAPH:
                return [*named, *self.body(attribute.as_graph())]
            case ir.AttributeType.GRAPHS:
                return [*named, *([*self.body(graph)] for graph in attribute.as_graphs())]
            case ir.AttributeType.TENSOR:
                return [*named, _tensor(attribute.as_tensor())]
            case ir.AttributeType.TENSORS:
                return [*named, *map(_tensor, attribute.as_tensors())]
        # A number, a text or several; a type has no other form than its own.
        return [*named, str(attribute.value)]


def _kind(value: ir.Value) -> Fields:
    """Return a value's type and shape, as far as they are known."""
    shape = None if value.shape is None else [str(size) for size in value.shape]
    return [str(value.type), shape]


def _tensor(tensor: ir.TensorProtocol, *, whole: bool = False) -> Fields:
    """Return a tensor's type and shape, and its values where they are part of the structure."""
    shape = [str(size) for size in tensor.shape]
    known = [tensor.dtype.name, shape]
    if tensor.size > _SMALL or not (whole or tensor.dtype.name in _STRUCTURAL):
        return known
    return [*known, tensor.numpy().tolist()]
