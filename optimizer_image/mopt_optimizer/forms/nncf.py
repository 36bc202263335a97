"""Quantizes a prepared model to INT8 with NNCF, OpenVINO's own quantizer."""

from __future__ import annotations

from pathlib import Path

from mopt_api.jobs.aim import raised
from mopt_api.jobs.plan import fallback_gates
from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.onnx_quantization.excluding import matching_nodes
from mopt_optimizer.onnx_quantization.gated import Gating
from mopt_optimizer.quality import fitting_gates
from mopt_optimizer.runtimes.openvino import NncfOptions, quantize_openvino_nncf

from .form import Form
from .material import Material
from .searching import SEARCH_MACS, SEARCH_SAMPLES, fallback_reports


def make_nncf(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a model in INT8, the best of NNCF's ways; FakeQuantize ranges become Q/DQ nodes.

    Raises:
        QuantizationError: NNCF cannot quantize it, or a gate holds only if all of it is FP32.
        SpecError: A gate that does not fit the model's outputs.
        CalibrationError, ModelError, ExportError, DiskError.
    """
    quantization = form.quantization
    gates = fallback_gates(quantization, list(material.gates))
    options = NncfOptions(
        exclude=matching_nodes(material.fp32, quantization.exclude),
        best=True,
        narrow_sums=form.narrow_sums,
        gating=Gating(
            gates=tuple(raised(gates, form.aims)),
            search_samples=SEARCH_SAMPLES,
            search_macs=SEARCH_MACS,
            search_seconds=quantization.search_budget_seconds,
            again=bool(form.aims),
            start=tuple(form.start),
        ),
    )
    with fitting_gates():
        report = quantize_openvino_nncf(material.fp32, target, material.samples, options)
    found = report.sensitivity
    return QuantizationReport(
        name=name,
        quantized_nodes=report.fake_quantizers,
        kept=dict(report.kept),
        fallbacks=fallback_reports(found, gates, form.aims) if found else [],
    )
