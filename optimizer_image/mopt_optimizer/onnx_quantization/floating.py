"""FP16 and BF16 ONNX models; FP32 stays where the narrower type overflows or is unsupported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mopt_optimizer.errors import QuantizationError, RuntimeFailure
from mopt_optimizer.onnx_files.float_models import (
    element_types,
    float_weights,
    open_float_model,
    save_model,
)
from mopt_optimizer.onnx_files.opsets import opset

from ._casting import Narrowing
from .agreement import agreement
from .doubts import kept_for_fills
from .guards import guarded_nodes
from .observing import KeptSamples, Sample, float_activations, observe

if TYPE_CHECKING:
    import onnx


class FloatType(StrEnum):
    """Target type of the conversion."""

    FP16 = "FP16"
    BF16 = "BF16"


LARGEST = {
    FloatType.FP16: float(np.finfo(np.float16).max),
    FloatType.BF16: 3.3895313892515355e38,
}
"""Largest finite value of each type: 65504, and 0x7f7f as bfloat16."""
SMALLEST = {
    FloatType.FP16: float(np.finfo(np.float16).smallest_normal),
    FloatType.BF16: float(np.finfo(np.float32).smallest_normal),
}
"""Smallest positive value of each type with all its bits: 6.1e-5, and that of FP32."""

# Sums of squares, exponentials and reciprocals of small numbers leave FP16's range inside the
# node, where no observed tensor shows it; indices and sizes lose precision.
_FP16_UNSAFE = frozenset(
    {
        "CumSum",
        "Exp",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
        "Pow",
        "Range",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceProd",
        "RMSNormalization",
        "ReduceSum",
        "ReduceSumSquare",
        "Reciprocal",
        "Resize",
        "Softmax",
        "LogSoftmax",
        "TopK",
    }
)
# Over the observed values: evaluation data may exceed the calibration data.
DEFAULT_HEADROOM = 4.0
_BF16_OPSET = 22


@dataclass(frozen=True)
class FloatOptions:
    """Conversion options.

    Attributes:
        keep_io: Inputs and outputs stay FP32; casts are inserted inside.
        keep: Names of nodes that stay FP32.
        headroom: A node stays FP32 if a known value times this exceeds the type's maximum.
    """

    keep_io: bool = True
    keep: tuple[str, ...] = ()
    headroom: float = DEFAULT_HEADROOM

    def __post_init__(self) -> None:
        if not self.headroom >= 1:
            raise ValueError(f"headroom {self.headroom} is below 1: values seen would overflow")


@dataclass(frozen=True)
class FloatReport:
    """Result of a conversion.

    Attributes:
        path: The output file.
        converted: Number of nodes that compute in the narrower type.
        kept: Nodes that stay FP32, with the reason for each.
        casts: Number of Cast nodes inserted.
        flushed: Share of the converted weight values that were nonzero and became 0.
        sqnr_db: Of the first sample's outputs against FP32, at most 200; None without samples.
        verified_with: Runtime that computed those outputs: ONNX Runtime, or OpenVINO where ONNX
            Runtime lacks a kernel, as for most of BF16 on a CPU; None without samples.
    """

    path: Path
    converted: int
    kept: Mapping[str, str]
    casts: int
    flushed: float
    sqnr_db: float | None
    verified_with: str | None


def convert_float(
    model_path: Path,
    out_path: Path,
    precision: FloatType,
    samples: Iterable[Sample] | None = None,
    options: FloatOptions | None = None,
) -> FloatReport:
    """Write a model that computes in FP16 or BF16 where that is safe.

    A node stays FP32 if its operator does not support the type in the model's opset, contains a
    subgraph, is known to be unsafe in FP16, is in training mode, reads a constant below the type's
    resolution (see guards), or reads, writes or holds values near the type's maximum. Activation
    values are observed on the samples; without samples only the weights' are known, and the result
    is not run. For BF16 the model is converted to opset 22, the first in which Conv supports it.

    Raises:
        ModelError, ExportError: As open_float_model.
        CalibrationError: Samples do not match the inputs, or are not finite in the FP32 model.
        QuantizationError: No node can be converted, the FP32 model or the result does not run, or
            the result's outputs are not finite.
        DiskError: No space left; out_path is unchanged.
    """
    options = options or FloatOptions()
    model = open_float_model(model_path)
    if precision is FloatType.BF16:
        model = _raised(model)
    kept_samples = KeptSamples(samples, 1) if samples is not None else None
    peaks = peaks_of(model, kept_samples)
    kept = why_kept(model, precision, peaks, options)
    converted = len(float_nodes(model)) - len(kept)
    if not converted:
        reason = next(iter(kept.values()), "none computes in FP32")
        raise QuantizationError(f"{model_path.name}: no node can be {precision}: {reason}")
    narrowing = Narrowing(model, _element_type(precision), set(kept), keep_io=options.keep_io)
    return narrowed_report(narrowing, model, kept_samples, out_path, converted, kept)


def narrowed_report(
    narrowing: Narrowing,
    model: onnx.ModelProto,
    samples: KeptSamples | None,
    out_path: Path,
    converted: int,
    kept: Mapping[str, str],
) -> FloatReport:
    """Apply the rewrite, compare with the FP32 model on the first sample, and write the file.

    Args:
        model: The FP32 model.
        samples: None skips the comparison.
        converted: Number of nodes that become narrow.
        kept: Nodes that stay FP32, with the reason for each.

    Raises:
        QuantizationError, DiskError: As convert_float.
    """
    narrowed = narrowing.apply()
    sqnr_db, runtime = None, None
    if samples is not None:
        sqnr_db, runtime = agreement(model, narrowed, samples.some()[0])
    save_model(narrowed, out_path)
    return FloatReport(
        out_path, converted, kept, narrowing.casts, narrowing.flushed, sqnr_db, runtime
    )


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset with BF16, or unchanged if onnx cannot convert it."""
    import onnx

    if opset(model) >= _BF16_OPSET:
        return model
    try:
        raised = onnx.version_converter.convert_version(model, _BF16_OPSET)
        return onnx.shape_inference.infer_shapes(raised, data_prop=True)
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError):
        return model  # Nodes without BF16 stay FP32; the report says so.


def _element_type(precision: FloatType) -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT16 if precision is FloatType.FP16 else TensorProto.BFLOAT16)


def peaks_of(model: onnx.ModelProto, samples: Iterable[Sample] | None) -> dict[str, float]:
    """Return the largest magnitude of each weight and each observed activation.

    Raises:
        CalibrationError, QuantizationError: As convert_float.
    """
    peaks = {
        name: float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        for name, values in float_weights(model)
    }
    if samples is not None:
        try:
            observed = observe(model, float_activations(model, None), samples)
        except RuntimeFailure as error:
            raise QuantizationError(f"the model does not run: {error}") from error
        peaks |= {n: max(-o.lowest, o.highest) for n, o in observed.observers.items()}
    return peaks


def why_kept(
    model: onnx.ModelProto,
    precision: FloatType,
    peaks: Mapping[str, float],
    options: FloatOptions,
) -> dict[str, str]:
    """Return the nodes that stay FP32, with the reason for each."""
    kept = guarded_nodes(model, SMALLEST[precision])
    kept |= kept_for_fills(model, LARGEST[precision] / options.headroom)
    opsets = {o.domain: o.version for o in model.opset_import}
    for node in float_nodes(model):
        reason = _why_fp32(node, precision, peaks, options, opsets)
        if reason:
            kept.setdefault(node.name, reason)
    return {node.name: kept[node.name] for node in float_nodes(model) if node.name in kept}


def float_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that read or write an FP32 tensor."""
    from onnx import TensorProto

    floats = {name for name, kind in element_types(model).items() if kind == TensorProto.FLOAT}
    return [n for n in model.graph.node if not floats.isdisjoint((*n.input, *n.output))]


def _why_fp32(
    node: onnx.NodeProto,
    precision: FloatType,
    peaks: Mapping[str, float],
    options: FloatOptions,
    opsets: Mapping[str, int],
) -> str | None:
    if node.name in options.keep:
        return "asked for"
    if any(a.HasField("g") or a.graphs for a in node.attribute):
        return "holds a subgraph"
    if any(a.name == "training_mode" and a.i for a in node.attribute):
        return "normalizes by the batch, in training mode"
    if precision is FloatType.FP16 and node.op_type in _FP16_UNSAFE:
        return f"{node.op_type} is unsafe in FP16"
    if not _has_type(node, precision, opsets):
        return f"{node.op_type} has no {precision} in this opset"
    for name in (*node.input, *node.output):
        if peaks.get(name, 0.0) * options.headroom > LARGEST[precision]:
            return f"{name} reaches {peaks[name]:.3g}"
    return None


def _has_type(node: onnx.NodeProto, precision: FloatType, opsets: Mapping[str, int]) -> bool:
    """Return whether the node accepts the type wherever it accepts float."""
    import onnx

    wanted = "tensor(float16)" if precision is FloatType.FP16 else "tensor(bfloat16)"
    if any(a.name == "dtype" or a.name.startswith("value_float") for a in node.attribute):
        return False  # the attribute fixes the output type to float
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:
        return False  # custom domain: no schema to check
    constraints = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    for parameter in (*schema.inputs, *schema.outputs):
        allowed = constraints.get(parameter.type_str, [parameter.type_str])
        if "tensor(float)" in allowed and wanted not in allowed:
            return False
    return True
