"""Weight-only INT8, one weight at a time: for models that do not fit into memory twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import ExportError, NonFiniteWeight
from mopt_optimizer.onnx_files.files import place_graph
from mopt_optimizer.onnx_files.nodes import nodes_of
from mopt_optimizer.onnx_files.opsets import OLDEST_OPSET
from mopt_optimizer.opening.loading import open_onnx

if TYPE_CHECKING:
    import onnx_ir as ir

# Smaller weights, and the nodes that read them, gain nothing.
MIN_WEIGHT_VALUES = 4096
_PEAK = 127
# Output-channel axis of the weight.
_CHANNEL_AXIS = {"Conv": 0, "MatMul": 1}


@dataclass(frozen=True)
class WeightReport:
    """Number of quantized weights, and their total size in bytes before and after."""

    weights: int
    bytes_before: int
    bytes_after: int


def quantize_weights(source: str | Path, target: str | Path) -> WeightReport:
    """Write a model whose Conv, Gemm and MatMul weights are stored in 8 bits.

    Each is followed by a DequantizeLinear with one scale per output channel. Activations and
    arithmetic stay FP32, so no calibration is needed. Weights are read and written one at a time,
    whatever the model size.

    Raises:
        NonFiniteWeight: A weight holds NaN or infinity.
        ModelError: The source is not an ONNX model.
        ExportError: Its opset is too old for per-channel scales.
        DiskError: The disk is full.
    """
    import onnx_ir as ir

    source, target = Path(source), Path(target)
    open_onnx(source)
    model = ir.load(source)
    version = model.opset_imports.get("", 0)
    if version < OLDEST_OPSET:
        raise ExportError(f"opset {version} has no scales per channel: convert to {OLDEST_OPSET}")
    before = after = 0
    chosen = list(_weights(model))
    for value, axis in chosen:
        before += value.const_value.nbytes if value.const_value is not None else 0
        after += _quantize(model, value, axis)
    place_graph(model, target, external=before > 0 and _lies_outside(source))
    return WeightReport(len(chosen), before, after)


def _lies_outside(path: Path) -> bool:
    import onnx

    from mopt_optimizer.onnx_files.files import needs_external_data

    model = onnx.load(path, load_external_data=False)
    return any(needs_external_data(tensor) for tensor in model.graph.initializer)


def _weights(model: ir.Model) -> Iterator[tuple[ir.Value, int]]:
    """Yield each main-graph weight whose only reader is such a node, and its channel axis."""
    found: dict[str, tuple[ir.Value, int]] = {}
    for node in nodes_of(model, "Conv", "Gemm", "MatMul"):
        value = node.inputs[1]
        if value is None or not value.is_initializer() or value.is_graph_input():
            continue
        tensor = value.const_value
        if tensor is None or tensor.size < MIN_WEIGHT_VALUES or len(tensor.shape) < 2:
            continue
        if tensor.dtype.name != "FLOAT" or len(value.uses()) != 1 or value.graph is not node.graph:
            continue
        axis = _CHANNEL_AXIS.get(node.op_type)
        if axis is None:
            axis = 0 if node.attributes.get_int("transB", 0) else 1
        if node.op_type == "MatMul" and len(tensor.shape) != 2:
            continue
        found[str(value.name)] = (value, axis)
    yield from found.values()


def channel_scales(weight: NDArray[np.float32], axis: int, name: str) -> NDArray[np.float32]:
    """Return the scale that maps each channel onto [-127, 127]; 1 for all-zero channels.

    Raises:
        NonFiniteWeight: The weight holds NaN or infinity.
    """
    others = tuple(a for a in range(weight.ndim) if a != axis)
    peaks = np.maximum(weight.max(axis=others), -weight.min(axis=others))
    if not np.isfinite(peaks).all():
        raise NonFiniteWeight(f"weight {name!r} holds NaN or infinity")
    steps = peaks / np.float32(_PEAK)
    return np.where(steps > 0, steps, np.float32(1)).astype(np.float32)


def _quantize(model: ir.Model, value: ir.Value, axis: int) -> int:
    """Replace a weight with int8 values and a DequantizeLinear; return their size in bytes."""
    import onnx_ir as ir

    tensor, name = value.const_value, str(value.name)
    assert tensor is not None  # noqa: S101 - _weights yields no other
    scales = channel_scales(tensor.numpy(), axis, name)
    shape = [1] * len(tensor.shape)
    shape[axis] = -1

    def stored() -> ir.TensorProtocol:
        """Compute the values when they are written; keep nothing."""
        steps = np.rint(tensor.numpy() / scales.reshape(shape))
        return ir.Tensor(np.clip(steps, -_PEAK, _PEAK).astype(np.int8), name=f"{name}_int8")

    sizes, int8 = ir.Shape(tensor.shape.numpy()), ir.DataType.INT8
    integers = ir.Value(
        name=f"{name}_int8",
        shape=sizes,
        type=ir.TensorType(int8),
        const_value=ir.LazyTensor(stored, dtype=int8, shape=sizes, name=f"{name}_int8"),
    )
    steps = ir.Value(
        name=f"{name}_scale",
        shape=ir.Shape(scales.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.Tensor(scales, name=f"{name}_scale"),
    )
    node = ir.node("DequantizeLinear", [integers, steps], {"axis": axis}, name=f"{name}_dequantize")
    node.outputs[0].name = f"{name}_dequantized"
    value.replace_all_uses_with(node.outputs[0])
    graph = model.graph
    del graph.initializers[name]
    graph.register_initializer(integers)
    graph.register_initializer(steps)
    graph.insert_before(graph[0], node)
    return int(tensor.size) + scales.nbytes
