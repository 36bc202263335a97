"""INT8 or FP8 mixed with FP16 in one file: nodes not in 8 bits compute in FP16, not FP32.

Q/DQ nodes then quantize from and dequantize to FP16, which ONNX supports from opset 19 on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mopt_optimizer.onnx_files.float_models import at_opset, open_float_model, save_model

from ._casting import Narrowing
from .floating import (
    FloatOptions,
    FloatReport,
    FloatType,
    float_nodes,
    narrowed_report,
    peaks_of,
    why_kept,
)
from .observing import KeptSamples, Sample

if TYPE_CHECKING:
    import onnx

MIXED_OPSET = 21
# Below it FP16 loses bits of a scale, and so of everything multiplied by it.
_SMALLEST_SCALE = float(np.finfo(np.float16).smallest_normal)
_QDQ = ("QuantizeLinear", "DequantizeLinear")


def raise_opset(model_path: Path, out_path: Path) -> None:
    """Write an FP32 model in an opset whose Q/DQ nodes accept FP16.

    Raises:
        ModelError, ExportError: As open_float_model.
        QuantizationError: onnx cannot convert the model.
    """
    model = open_float_model(model_path)
    what = f"{model_path.name}, for FP16 beside 8 bits"
    save_model(at_opset(model, MIXED_OPSET, what), out_path)


def narrow_quantized(
    float_path: Path,
    quantized_path: Path,
    out_path: Path,
    samples: Iterable[Sample] | None = None,
    options: FloatOptions | None = None,
) -> FloatReport:
    """Write a Q/DQ model whose other nodes compute in FP16 where that is safe.

    Args:
        float_path: The FP32 model in opset 21 or later, as raise_opset writes it.
        quantized_path: Its Q/DQ form, with the same node names.
        samples: As convert_float.

    Raises:
        As convert_float.
    """
    import onnx

    options = options or FloatOptions()
    model = open_float_model(float_path)
    quantized = onnx.load(quantized_path)
    kept_samples = KeptSamples(samples, 1) if samples is not None else None
    kept = why_kept(model, FloatType.FP16, peaks_of(model, kept_samples), options)
    converted = len(float_nodes(model)) - len(kept)
    kept |= _coarse(quantized)
    typed = onnx.shape_inference.infer_shapes(quantized)
    narrowing = Narrowing(typed, onnx.TensorProto.FLOAT16, set(kept), keep_io=options.keep_io)
    return narrowed_report(narrowing, model, kept_samples, out_path, converted, kept)


def _coarse(model: onnx.ModelProto) -> dict[str, str]:
    """Return the Q/DQ nodes that stay FP32, each with why FP16 cannot hold its scale."""
    from onnx import numpy_helper

    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = {}
    for node in model.graph.node:
        scale = arrays.get(node.input[1]) if node.op_type in _QDQ else None
        if scale is None:
            continue
        smallest = float(numpy_helper.to_array(scale).min())
        if smallest < _SMALLEST_SCALE:
            kept[node.name] = f"its scale {smallest:.3g} is below what FP16 holds exactly"
    return kept
