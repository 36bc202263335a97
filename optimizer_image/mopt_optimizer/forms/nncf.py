"""Quantizes a prepared model to INT8 with NNCF, OpenVINO's own quantizer."""

from __future__ import annotations

from pathlib import Path

from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.onnx_quantization.excluding import matching_nodes
from mopt_optimizer.runtimes.openvino import NncfOptions, quantize_openvino_nncf

from .form import Form
from .material import Material


def make_nncf(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a model in INT8; FakeQuantize ranges become Q/DQ nodes.

    Raises:
        QuantizationError: NNCF cannot quantize it.
        CalibrationError, ModelError, ExportError, DiskError.
    """
    exclude = matching_nodes(material.fp32, form.quantization.exclude)
    options = NncfOptions(exclude=exclude)
    report = quantize_openvino_nncf(material.fp32, target, material.samples, options)
    return QuantizationReport(
        name=name, quantized_nodes=report.fake_quantizers, kept=dict(report.kept)
    )
