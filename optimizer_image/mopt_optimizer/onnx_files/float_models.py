"""Reads, checks and writes FP32 models for quantization."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import ModelError, QuantizationError, first_line
from mopt_optimizer.opening.loading import open_onnx
from mopt_optimizer.store.writing import disk_errors, replacing

from .files import needs_external_data, outside_values, place_whole
from .layers import WEIGHTED
from .opsets import opset, upgraded

if TYPE_CHECKING:
    import onnx

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_LAYERS = (*WEIGHTED, "BatchNormalization", "GRU", "LSTM", "RNN")
# What weights pass through unchanged on the way to a layer.
_MOVERS = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def open_float_model(path: Path, *, external: bool = False) -> onnx.ModelProto:
    """Return a model of FP32 weights, ready to be rewritten.

    Its opset is at least 13, every node has a unique name, and the shapes and types of intermediate
    tensors are inferred as far as onnx can.

    Args:
        external: Allow external data; it is checked, and stays external.

    Raises:
        ModelError: Not a valid ONNX file, or a layer's weight that is NaN or infinite.
        QuantizationError: It is already quantized, holds float16 or bfloat16, or has external data
            without `external`.
        ExportError: Its opset is older and cannot be converted.
    """
    import onnx

    model = open_onnx(path)
    if not external and any(needs_external_data(tensor) for tensor in model.graph.initializer):
        raise QuantizationError(
            f"{path.name} keeps weights in another file, as models above 2 GB do; only static INT8 "
            "and quantize_weights take such"
        )
    model = upgraded(model)
    _check_fp32(path, model)
    name_nodes(model)
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path.name}: its shapes cannot be inferred: {first_line(error)}") from (
            error
        )


def _check_fp32(path: Path, model: onnx.ModelProto) -> None:
    import onnx

    for node in model.graph.node:
        if node.op_type in _QUANTIZED:
            raise QuantizationError(
                f"{path.name} is quantized already (node {node.name or node.op_type}); "
                "quantize the FP32 model"
            )
    for tensor in model.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            raise QuantizationError(
                f"{path.name}: weight {tensor.name!r} is {kind}, which would give scales that "
                "ONNX Runtime computes wrongly with; quantize the FP32 model"
            )
    layers = _layer_weights(model)
    for name, values in float_weights(model, path.parent):
        bad = int(values.size - np.count_nonzero(np.isfinite(values))) if name in layers else 0
        if bad:
            raise ModelError(
                f"{path.name}: weight {name!r} holds {bad} values of {values.size} that are NaN "
                "or infinite; train or export it again"
            )


def _layer_weights(model: onnx.ModelProto) -> set[str]:
    """Return the weights that layers multiply by: there, what is not finite is damage.

    Elsewhere it may be meant: -inf in a causal mask.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    pending = [n for node in model.graph.node if node.op_type in _LAYERS for n in node.input]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        if (node := makers.get(name)) is not None and node.op_type in _MOVERS:
            pending.append(node.input[0])
    return found


def float_weights(
    model: onnx.ModelProto, folder: Path | None = None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and values of each FP32 initializer of the main graph, one at a time.

    Args:
        folder: The model's, if it may have external data.
    """
    from onnx import TensorProto, numpy_helper

    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        if folder is not None and needs_external_data(tensor):
            yield tensor.name, outside_values(tensor, folder)
        else:
            yield tensor.name, numpy_helper.to_array(tensor)


def name_nodes(model: onnx.ModelProto) -> None:
    """Give each node of the main graph a unique name; existing unique names stay."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{number}"
        while name in taken:
            name = f"{name}_{number}"
        node.name = name
        taken.add(name)


def at_opset(model: onnx.ModelProto, version: int, what: str) -> onnx.ModelProto:
    """Return a model in at least this opset version, with inferred shapes.

    Args:
        what: The model and the reason for the conversion, for messages.

    Raises:
        QuantizationError: onnx cannot convert it.
    """
    import onnx

    if opset(model) >= version:
        return model
    try:
        raised = onnx.version_converter.convert_version(model, version)
        return onnx.shape_inference.infer_shapes(raised, data_prop=True)
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError) as error:
        raise QuantizationError(
            f"{what}: it cannot be raised to opset {version}: {first_line(error)}; export it in "
            "that opset, or use INT8 alone"
        ) from error


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the onnx element type of every tensor of the main graph whose type is known."""
    graph = model.graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.HasField("tensor_type")
    }
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def save_model(model: onnx.ModelProto, path: Path, folder: Path | None = None) -> None:
    """Write a model atomically.

    Args:
        folder: Of the model's external data, which goes into the file, or into PATH.data if it does
            not fit.

    Raises:
        DiskError: No space left.
        QuantizationError: It exceeds protobuf's size limit.
    """
    import onnx

    if folder is not None:
        place_whole(model, folder, path)
        return
    with disk_errors(str(path)), replacing(path) as temporary:
        try:
            onnx.save(model, temporary)
        except ValueError as error:
            raise QuantizationError(f"{path.name} would exceed 2 GiB") from error


def serialized(model: onnx.ModelProto) -> bytes:
    """Return a model's bytes.

    Raises:
        QuantizationError: They exceed protobuf's size limit.
    """
    try:
        data: bytes = model.SerializeToString()
    except ValueError as error:
        raise QuantizationError(
            "a model above 2 GiB must keep its weights in another file: write it with "
            "ONNXExporter, or onnx.save(..., save_as_external_data=True)"
        ) from error
    return data
