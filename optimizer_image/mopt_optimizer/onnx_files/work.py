"""What one call of an ONNX model has to do at least: products by type, and bytes that move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mopt_api.jobs.limits import BF16, FP32, INT8, Work
from mopt_optimizer.opening.onnx_graphs import subgraphs_of

from .info import infer, shape_of
from .layers import WEIGHTED, CountedLayer, Shape, multiply_accumulates

if TYPE_CHECKING:
    import onnx

# Operators that multiply in ways that are not counted, and graphs that run as often as they like.
_UNCOUNTED = frozenset(
    (
        *("LSTM", "GRU", "RNN", "Einsum", "Attention", "DeformConv"),
        *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
    )
)
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_PAIR = (_QUANTIZE, _DEQUANTIZE)
# What stands between a tensor and its layer without changing a value.
_SAME_VALUES = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
_OWN_DOMAINS = ("", "ai.onnx")
# Weights of more values say nothing about shapes.
_MOST_READ = 1024
_TYPES = {
    "FLOAT": FP32,
    "FLOAT16": "FP16",
    "BFLOAT16": BF16,
    "DOUBLE": "FP64",
    "INT8": INT8,
    "UINT8": INT8,
    "FLOAT8E4M3FN": "FP8",
    "FLOAT8E5M2": "FP8",
}
_BYTES = {
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64"), 8.0),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 4.0),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 2.0),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8E4M3FN", "FLOAT8E5M2"), 1.0),
    **dict.fromkeys(("INT4", "UINT4"), 0.5),
}


@dataclass(frozen=True)
class CountedWork:
    """All such layers of a model at some sizes.

    Attributes:
        moved_bytes: Their weights, the inputs and the outputs, each once. What is not known of
            them counts as nothing: it stays what is moved at least.
    """

    layers: tuple[CountedLayer, ...]
    moved_bytes: int

    @property
    def work(self) -> Work:
        """Their sums."""
        products: dict[str, int] = {}
        for layer in self.layers:
            products[layer.kind] = products.get(layer.kind, 0) + layer.products
        return Work(products=products, moved_bytes=self.moved_bytes)


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the values of large weights, in place; their shapes and types stay."""
    constants = (a.t for node in model.graph.node for a in node.attribute if a.HasField("t"))
    for tensor in (*model.graph.initializer, *constants):
        if math.prod(tensor.dims) > _MOST_READ:
            for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                tensor.ClearField(name)
    return model


def count_work(
    model: onnx.ModelProto, shapes: Mapping[str, Shape], floats: str = FP32
) -> CountedWork | None:
    """Return what a call with inputs of these shapes has to do.

    None where that cannot be told: an operator that multiplies otherwise, in a function or in a
    graph within the graph, or a shape that onnx cannot infer.

    Args:
        model: As without_weights leaves it.
        floats: What a runtime computes FP32 layers in.

    Raises:
        ModelError: onnx rejects the graph.
    """
    if any(_is_uncounted(node) for node in model.graph.node):
        return None
    values = _Values(_fixed(model, shapes))
    known = values.shapes()
    layers: list[CountedLayer] = []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        if any(name not in known for name in (*node.input[:2], node.output[0])):
            return None
        kind = values.kind(node)
        layers.append(
            CountedLayer(
                names=frozenset(filter(None, (node.name, node.output[0]))),
                kind=floats if kind == FP32 else kind,
                products=multiply_accumulates(node, known),
            )
        )
    moved = values.weight_bytes(floats) + values.outside_bytes()
    return CountedWork(tuple(layers), math.floor(moved))


def _is_uncounted(node: onnx.NodeProto) -> bool:
    if node.op_type in _UNCOUNTED:
        return True
    if node.domain not in _OWN_DOMAINS and node.op_type not in _PAIR:
        return True
    graphs = [graph for attribute in node.attribute for graph in subgraphs_of(attribute)]
    return any(
        inner.op_type in WEIGHTED or _is_uncounted(inner)
        for graph in graphs
        for inner in graph.node
    )


def _fixed(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """Return a copy whose inputs have these shapes, with what onnx infers from them."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name in shapes:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in shapes[value.name]:
                shape.dim.add().dim_value = size
    return infer(fixed)


class _Values:
    """What is known of the values of a graph: shapes, types, and what makes them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx

        self._graph = graph = model.graph
        self._name = onnx.TensorProto.DataType.Name
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self._weights[node.output[0]] = attribute.t
        self._infos = {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}

    def shapes(self) -> dict[str, Shape]:
        """Return the shapes that are fully known."""
        found: dict[str, Shape] = {name: tuple(t.dims) for name, t in self._weights.items()}
        for name, value in self._infos.items():
            sizes = shape_of(value) if value.type.tensor_type.HasField("shape") else ["?"]
            if name not in found and all(isinstance(size, int) for size in sizes):
                found[name] = tuple(int(size) for size in sizes)
        return found

    def kind(self, node: onnx.NodeProto) -> str:
        """Return the type that a layer computes in: 8 bits where both of its inputs have 8."""
        read = {_TYPES.get(self._dequantized(name), "") for name in node.input[:2]}
        if len(read) == 1 and (narrow := read.pop()):
            return narrow
        return _TYPES.get(self._element(node.input[0]), self._element(node.input[0]))

    def _dequantized(self, name: str) -> str:
        """Return the element type that a value is dequantized from; empty where it is not."""
        maker = self._maker(name)
        if maker is None or maker.op_type != _DEQUANTIZE:
            return ""
        return self._element(maker.input[0])

    def _maker(self, name: str) -> onnx.NodeProto | None:
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in _SAME_VALUES:
            maker = self._makers.get(maker.input[0])
        return maker

    def _element(self, name: str) -> str:
        if (tensor := self._weights.get(name)) is not None:
            return str(self._name(tensor.data_type))
        value = self._infos.get(name)
        return str(self._name(value.type.tensor_type.elem_type)) if value is not None else ""

    def weight_bytes(self, floats: str) -> float:
        """Return the bytes of the layers' weights, each once, as narrow as they are read."""
        layers = (node for node in self._graph.node if node.op_type in WEIGHTED)
        found = dict(weight for node in layers for weight in self._weight(node.input[1], floats))
        return sum(found.values())

    def _weight(self, name: str, floats: str) -> Iterator[tuple[str, float]]:
        """Yield the name of the tensor that an input is made of alone, if any, and its bytes."""
        quantized = False
        while name not in self._weights:
            maker = self._makers.get(name)
            if maker is None or maker.op_type not in {*_SAME_VALUES, *_PAIR}:
                return
            quantized = quantized or maker.op_type == _QUANTIZE
            name = maker.input[0]
        tensor = self._weights[name]
        width = _BYTES.get(self._name(tensor.data_type), 0.0)
        if quantized:
            width = min(width, 1.0)
        elif floats == BF16:
            width = min(width, 2.0)
        yield name, math.prod(map(int, tensor.dims)) * width

    def outside_bytes(self) -> float:
        """Return the bytes of the inputs and the outputs."""
        known = self.shapes()
        inputs = [v.name for v in self._graph.input if v.name not in self._weights]
        return sum(
            math.prod(known.get(name, (0,))) * _BYTES.get(self._element(name), 0.0)
            for name in {*inputs, *(v.name for v in self._graph.output)}
        )
