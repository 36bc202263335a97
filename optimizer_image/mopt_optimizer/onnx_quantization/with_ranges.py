"""Static INT8 from known ranges, without samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.errors import CalibrationError
from mopt_optimizer.onnx_files.float_models import save_model

from .calibrated import open_to_quantize, operators_of, writer_for
from .observing import float_activations
from .outside import outside_weights
from .qdq import check_quantized
from .ranges import Ranges
from .static_options import StaticOptions

if TYPE_CHECKING:
    import onnx


def quantize_onnx_with_ranges(
    model_path: Path,
    out_path: Path,
    ranges: Ranges,
    options: StaticOptions | None = None,
) -> int:
    """Write a static 8-bit model from known ranges; return the number of quantized nodes.

    Args:
        ranges: (low, high) by tensor name; entries of tensors that stay FP32 are ignored.
        options: gate, calibration and their related options are ignored.

    Raises:
        CalibrationError: A tensor to be quantized has no range.
        ModelError, ExportError: As open_float_model.
        QuantizationError: The model cannot be quantized.
        DiskError: No space left; out_path is unchanged.
    """
    options = options or StaticOptions()
    model = open_to_quantize(model_path, options)
    operators = operators_of(model, model_path.name, options)
    nodes = [
        node
        for node in model.graph.node
        if node.op_type in operators and node.name not in options.exclude
    ]
    needed = _needed(model, nodes, outputs=options.layer_outputs)
    missing = [name for name in needed if name not in ranges]
    if missing:
        raise CalibrationError(
            f"{len(missing)} of {len(needed)} tensors that are to be quantized have no range, the "
            f"first is {missing[0]!r}: the ranges are of another model, or of another export of it"
        )
    with outside_weights(model_path, model) as weights:
        writer = writer_for(model, operators, options, weights)
        quantized = writer.quantized(ranges)
        check_quantized(quantized, model_path.name)
        save_model(quantized, out_path, writer.folder)
    return len(nodes)


def _needed(model: onnx.ModelProto, nodes: list[onnx.NodeProto], *, outputs: bool) -> list[str]:
    """Return the float activations that the nodes read and, with outputs, those they write."""
    floats = set(float_activations(model, None))
    weights = {tensor.name for tensor in model.graph.initializer}
    names: dict[str, None] = {}
    for node in nodes:
        for name in (*node.input, *(node.output if outputs else ())):
            if name in floats and name not in weights:
                names[name] = None
    return list(names)
