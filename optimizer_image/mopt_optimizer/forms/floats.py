"""Converts a prepared model to FP16 or BF16, as ONNX."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.onnx_quantization import FloatType, convert_float

from .form import Form
from .material import Material

OBSERVED_SAMPLES = 8
"""Samples that FP16's ranges are observed on; the headroom covers what they do not show."""


def make_fp16(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:  # noqa: ARG001
    """Write a model in FP16; what would overflow on the samples stays FP32.

    Raises:
        CalibrationError, ModelError, ExportError, DiskError.
    """
    return _made(name, FloatType.FP16, material, target)


def make_bf16(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:  # noqa: ARG001
    """Write a model in BF16. Raises as make_fp16."""
    return _made(name, FloatType.BF16, material, target)


def _made(name: str, kind: FloatType, material: Material, target: Path) -> QuantizationReport:
    observed = islice(iter(material.samples), OBSERVED_SAMPLES) if material.samples else None
    report = convert_float(material.fp32, target, kind, observed)
    return QuantizationReport(name=name, quantized_nodes=report.converted, kept=dict(report.kept))
