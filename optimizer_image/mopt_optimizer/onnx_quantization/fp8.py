"""FP8 (E4M3FN) instead of INT8 in a symmetric Q/DQ model, with the same placement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

FP8_OPSET = 19
"""First opset whose Q/DQ nodes accept FP8."""
LARGEST = 448.0
"""Largest E4M3FN value. The type has no infinity: larger values saturate."""

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SUFFIX = "_quantized"


def fp8_scale(peaks: NDArray[Any]) -> NDArray[np.float32]:
    """Return the scales, in the shape of peaks, that map the largest FP8 value to each peak.

    Args:
        peaks: Largest magnitudes, any shape. A peak that is 0, or so small that the division
            underflows, gets scale 1.
    """
    scales = np.asarray(peaks, np.float32) / np.float32(LARGEST)
    return np.where(scales > 0, scales, np.float32(1)).astype(np.float32)


def to_fp8(
    quantized: onnx.ModelProto,
    source: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Convert INT8 to FP8 in place: activations by their ranges, weights by their values.

    Args:
        quantized: As ONNX Runtime's quantizer writes it: symmetric, scales and weights as
            initializers.
        source: The FP32 model it was made from, with its weights.
        ranges: (low, high) of the activations.
    """
    from onnx import numpy_helper

    arrays = {tensor.name: tensor for tensor in quantized.graph.initializer}
    floats = {tensor.name: tensor for tensor in source.graph.initializer}
    for node in quantized.graph.node:
        if node.op_type == _QUANTIZE:
            low, high = ranges[node.input[0]]
            scale = fp8_scale(np.array(max(-low, high)))
        elif node.op_type == _DEQUANTIZE and node.input[0] in arrays:
            weight = numpy_helper.to_array(floats[node.input[0].removesuffix(_SUFFIX)])
            per_channel = bool(arrays[node.input[1]].dims)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            scale = _weight_scale(weight, axis if per_channel else None)
            arrays[node.input[0]].CopyFrom(_stored(node.input[0], weight, scale, axis))
        else:
            continue
        arrays[node.input[1]].CopyFrom(numpy_helper.from_array(scale, node.input[1]))
        arrays[node.input[2]].CopyFrom(_zeros(node.input[2], scale.shape))


def _weight_scale(weight: NDArray[Any], axis: int | None) -> NDArray[np.float32]:
    magnitudes = np.abs(weight)
    if axis is None:
        return fp8_scale(magnitudes.max())
    others = tuple(other for other in range(weight.ndim) if other != axis % weight.ndim)
    return fp8_scale(magnitudes.max(axis=others))


def _stored(
    name: str, weight: NDArray[Any], scale: NDArray[np.float32], axis: int
) -> onnx.TensorProto:
    """Return a weight in FP8, rounded to nearest as QuantizeLinear does."""
    import ml_dtypes
    from onnx import TensorProto

    shape = [1] * weight.ndim
    if scale.ndim:
        shape[axis] = scale.size
    values = np.clip(weight / scale.reshape(shape), -LARGEST, LARGEST)
    return TensorProto(
        name=name,
        data_type=TensorProto.FLOAT8E4M3FN,
        dims=weight.shape,
        raw_data=values.astype(ml_dtypes.float8_e4m3fn).tobytes(),
    )


def _zeros(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    from onnx import TensorProto

    return TensorProto(
        name=name,
        data_type=TensorProto.FLOAT8E4M3FN,
        dims=shape,
        raw_data=bytes(int(np.prod(shape))),
    )
