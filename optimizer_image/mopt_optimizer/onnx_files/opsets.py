"""Opsets of ONNX files: lookup and upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mopt_optimizer.errors import ExportError, root_message

from .files import needs_external_data

if TYPE_CHECKING:
    import onnx


# torch's exporter targets 18; all our runtimes support it.
OPSET = 18


# The first opset in which QuantizeLinear has an axis.
OLDEST_OPSET = 13
IR_VERSION = 4
"""The first in which a weight, such as a folded constant, need not be an input of the graph."""
# The first in which Resize says how it maps coordinates.
_COORDINATES = 11


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an ONNX model in an opset that supports per-channel Q/DQ.

    A model without operators of the default domain, such as a classical one, stays as it is.

    Raises:
        ExportError: onnx cannot convert one of its operators, or makes other inputs of them, or the
            model has external data.
    """
    import onnx

    domains = {entry.domain for entry in model.opset_import}
    if opset(model) >= OLDEST_OPSET or not domains & {"", "ai.onnx"}:
        return model
    if any(needs_external_data(tensor) for tensor in model.graph.initializer):
        raise ExportError(
            f"opset {opset(model)} cannot be converted where weights lie in another file: export "
            f"the model with opset {OLDEST_OPSET} at least"
        )
    try:
        converted = onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"opset {opset(model)} cannot be converted to {OPSET}: {root_message(error)}"
        ) from error
    # Weights that it makes of attributes are no inputs.
    converted.ir_version = max(converted.ir_version, IR_VERSION)
    if opset(model) < _COORDINATES:
        _keep_coordinates(converted.graph)
    for before, after in zip(_axes(model), _axes(converted), strict=True):
        if before != after:
            raise ExportError(
                f"opset {opset(model)} cannot be converted to {OPSET}: onnx makes {after[1]} axes "
                f"of the {before[1]} of {before[0]}"
            )
    return converted


def _keep_coordinates(graph: onnx.GraphProto) -> None:
    """Let Resize compute what it did before it had coordinate modes, which onnx leaves out.

    Then it was as the operators' definitions of opset 10 have it, and Upsample's: a coordinate is
    divided by the scale, and the nearest is the one below.
    """
    import onnx

    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _keep_coordinates(attribute.g)
        if node.op_type == "Resize":
            modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            kept = [a for a in node.attribute if a.name not in modes]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in modes.items())


def _axes(model: onnx.ModelProto) -> list[tuple[str, int]]:
    """Return the name and the number of axes of each input."""
    return [(value.name, len(value.type.tensor_type.shape.dim)) for value in model.graph.input]


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the default ONNX opset that a model uses."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def parameters(model: onnx.ModelProto) -> int:
    """Return the number of trained values: elements of floating-point initializers."""
    import onnx

    return sum(
        int(np.prod(tensor.dims, dtype=np.int64))
        for tensor in model.graph.initializer
        if onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).kind == "f"
    )
