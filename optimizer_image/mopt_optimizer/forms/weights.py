"""Stores a prepared model's weights as integers; what it computes stays FP32."""

from __future__ import annotations

from pathlib import Path

from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_quantization import WeightOptions, quantize_weights
from mopt_optimizer.onnx_quantization.excluding import matching_nodes

from .form import Form
from .material import Material


def make_weight_only(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a model with weights in 8 or 4 bits; it needs no data.

    Raises:
        QuantizationError: No weight is large enough, or exclude names missing nodes.
        ModelError, ExportError, DiskError.
    """
    quantization = form.quantization
    exclude = matching_nodes(material.fp32, quantization.exclude)
    options = WeightOptions(quantization.weight_bits or 8, exclude)
    report = quantize_weights(material.fp32, target, options)
    if not report.weights:
        target.unlink()
        raise QuantizationError(
            "no Conv, Gemm, MatMul or Gather has a weight of its own that is large enough to gain "
            "from integers"
        )
    return QuantizationReport(name=name, quantized_nodes=report.weights, kept=dict(report.kept))
