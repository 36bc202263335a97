"""Inspects ONNX files: parameters, operators, inputs, and MACs at given sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.errors import DimensionError, ModelError, first_line
from mopt_optimizer.opening.loading import open_onnx

from .files import needs_external_data
from .layers import WEIGHTED, multiply_accumulates
from .opsets import opset, parameters

if TYPE_CHECKING:
    import onnx

Shape = list[int | str]


@dataclass(frozen=True)
class ModelInfo:
    """Summary of an ONNX file.

    Attributes:
        inputs, outputs: Name to shape; dynamic sizes by name.
        parameters: Number of floating-point weight elements.
        operators: Node count per operator type, subgraphs included.
        macs: Multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul at `dimensions`.
        flops: Twice macs; None if a shape is unknown at those sizes.
        uncounted: Nodes of these operators with unknown shapes.
        size_bytes: Of the file and its external data.
        external_data: Its external data files.
    """

    opset: int
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    parameters: int
    operators: dict[str, int]
    nodes: int
    macs: int
    flops: int | None
    uncounted: list[str]
    size_bytes: int
    external_data: list[str]


def model_info(path: str | Path, dimensions: Mapping[str, int] | None = None) -> ModelInfo:
    """Return a summary of an ONNX file; external data is not read.

    Args:
        dimensions: Sizes at which MACs are counted.

    Raises:
        ModelError: Not an ONNX model, or its weights are missing.
        DimensionError: A dimension that the model does not have.
    """
    path = Path(path)
    model = open_onnx(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {v.name: shape_of(v) for v in model.graph.input if v.name not in weights}
    symbols = {size for shape in inputs.values() for size in shape if isinstance(size, str)}
    if unknown := set(dimensions or {}) - symbols:
        raise DimensionError(
            f"the model has no dimension {', '.join(sorted(unknown))}; it has "
            + (", ".join(sorted(symbols)) or "none")
        )
    operators = Counter(node.op_type for node in _nodes(model.graph))
    macs, uncounted = count_macs(model, dimensions or {})
    outside = {
        entry.value
        for tensor in model.graph.initializer
        if needs_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    sizes = [path.stat().st_size, *((path.parent / name).stat().st_size for name in outside)]
    return ModelInfo(
        opset=opset(model),
        inputs=inputs,
        outputs={v.name: shape_of(v) for v in model.graph.output},
        parameters=parameters(model),
        operators=dict(sorted(operators.items())),
        nodes=operators.total(),
        macs=macs,
        flops=None if uncounted else 2 * macs,
        uncounted=uncounted,
        size_bytes=sum(sizes),
        external_data=sorted(outside),
    )


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    """Return a shape; "?" is an unnamed dynamic size."""
    return [
        d.dim_value if d.HasField("dim_value") else d.dim_param or "?"
        for d in value.type.tensor_type.shape.dim
    ]


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = []
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            found.append(node)
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return found


def count_macs(model: onnx.ModelProto, sizes: Mapping[str, int]) -> tuple[int, list[str]]:
    """Return the MACs of the main graph, and the nodes with unknown shapes."""
    shapes = inferred_shapes(model, sizes)
    known = {
        name: tuple(int(size) for size in shape)
        for name, shape in shapes.items()
        if all(isinstance(size, int) for size in shape)
    }
    total, uncounted = 0, []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        if all(name in known for name in (*node.input[:2], node.output[0])):
            total += multiply_accumulates(node, known)
        else:
            uncounted.append(node.name or node.output[0])
    return total, uncounted


def inferred_shapes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, Shape]:
    """Return the shape of every value whose shape onnx can infer, at given sizes.

    Raises:
        ModelError: onnx rejects the graph.
    """
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in sizes:
                dimension.dim_value = sizes[dimension.dim_param]
    shapes: dict[str, Shape] = {t.name: list(t.dims) for t in fixed.graph.initializer}
    inferred = infer(fixed)
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = shape_of(value)
    return shapes


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with what onnx infers from its inputs' shapes; what the file says of other
    values is dropped, in the model too.

    Raises:
        ModelError: onnx rejects the graph.
    """
    import onnx

    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"shapes cannot be inferred: {first_line(error)}") from error
