"""Quantizes a prepared model to Q/DQ INT8 with a variant's options."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mopt_api.auto.int8 import is_x86
from mopt_api.jobs.aim import GateAim, raised
from mopt_api.jobs.plan import fallback_gates
from mopt_api.jobs.prepare_result import FallbackReport, QuantizationReport
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import (
    CalibrationError,
    ComparisonError,
    ExportError,
    ModelError,
    QuantizationError,
)
from mopt_optimizer.onnx_files.float_models import open_float_model
from mopt_optimizer.onnx_quantization import (
    Calibration,
    DynamicOptions,
    Scheme,
    StaticOptions,
    StaticReport,
    quantize_onnx_dynamic,
    quantize_onnx_static,
)
from mopt_optimizer.onnx_quantization.excluding import matching_nodes
from mopt_optimizer.quality import fitting_gates

from .form import Form
from .material import Material
from .names import artifact_name, needs_samples
from .searching import SEARCH_MACS, SEARCH_SAMPLES, fallback_reports


def make_qdq(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a model in INT8 with quantize.

    Raises:
        As quantize.
    """
    report = quantize(
        material.fp32,
        target,
        form.quantization,
        material.samples,
        material.gates,
        form.aims,
        narrow_sums=form.narrow_sums,
        start=form.start,
    )
    return report.model_copy(update={"name": name})


def quantize(
    model: Path,
    quantized: Path,
    quantization: Quantization,
    samples: Sequence[Inputs] = (),
    gates: Sequence[QualityGate] = (),
    aims: Sequence[GateAim] = (),
    *,
    narrow_sums: bool = False,
    start: Sequence[str] = (),
) -> QuantizationReport:
    """Write a model with 8-bit activations and weights.

    The same model, samples and gates give the same bytes, unless its budget ended the search.
    Samples are run one at a time.
    Activations are unsigned on x86, where those kernels are the fast ones, and signed elsewhere.
    Which x86 CPU prepares the file does not matter.

    Args:
        samples: At least one for mode Static; each runs through the FP32 model once.
        gates: Layers stay FP32 until all gates hold on samples, unless the options say Off.
        aims: Of a second search; see quantize_gated.
        narrow_sums: Weights have 7 bits, for x86 CPUs that add products in 16 bits.
        start: See Form.

    Raises:
        QuantizationError: The quantizer fails on this model, the samples do not fit it, the
            result does not run, the gates hold in FP32 only, or exclude names missing nodes.
        SpecError: A gate that does not fit the model's outputs.
        DiskError: No space left.
    """
    name = artifact_name(quantization, gates)
    try:
        with fitting_gates():
            exclude = matching_nodes(model, quantization.exclude)
            if not needs_samples(quantization):
                options = DynamicOptions(
                    per_channel=quantization.per_channel, exclude=exclude, reduce_range=narrow_sums
                )
                return _dynamic(name, model, quantized, options)
            scheme = _scheme(narrow_sums=narrow_sums)
            static = _static_options(quantization, exclude, scheme)
            static = replace(static, start=tuple(start))
            wanted = fallback_gates(quantization, list(gates))
            report, fallbacks = quantize_gated(model, quantized, samples, static, wanted, aims)
    except (CalibrationError, ComparisonError, ModelError, ExportError) as error:
        raise QuantizationError(f"cannot be quantized: {error}") from error
    return QuantizationReport(
        name=name,
        quantized_nodes=report.quantized_nodes,
        kept=dict(report.kept),
        fallbacks=fallbacks,
    )


def _dynamic(
    name: str, model: Path, quantized: Path, options: DynamicOptions
) -> QuantizationReport:
    if not _has_products(model, options.exclude):
        options = replace(options, convolutions=True)
    report = quantize_onnx_dynamic(model, quantized, options)
    return QuantizationReport(name=name, quantized_nodes=report.quantized_nodes)


def _has_products(model: Path, exclude: Sequence[str]) -> bool:
    """Return whether any MatMul or Gemm may be quantized."""
    nodes = open_float_model(model).graph.node
    return any(n.op_type in ("MatMul", "Gemm") and n.name not in set(exclude) for n in nodes)


def _scheme(*, narrow_sums: bool) -> Scheme:
    if narrow_sums:
        return Scheme.U8S8_REDUCED
    return Scheme.U8S8 if is_x86(platform.machine()) else Scheme.S8S8


def _static_options(
    quantization: Quantization, exclude: tuple[str, ...], scheme: Scheme
) -> StaticOptions:
    return StaticOptions(
        calibration=Calibration(quantization.calibrator.value),
        scheme=scheme,
        per_channel=quantization.per_channel,
        exclude=exclude,
        search_seconds=quantization.search_budget_seconds,
    )


def quantize_gated(
    model: Path,
    quantized: Path,
    samples: Sequence[Inputs],
    options: StaticOptions,
    gates: Sequence[QualityGate],
    aims: Sequence[GateAim] = (),
) -> tuple[StaticReport, list[FallbackReport]]:
    """Write a Q/DQ form.

    Args:
        gates: Those that layers are excluded for; empty quantizes all layers.
        aims: Of a second search: how far above which of them.

    Raises:
        As quantize_onnx_static.
    """
    options = replace(
        options,
        gates=tuple(raised(gates, aims)),
        again=bool(aims),
        search_samples=SEARCH_SAMPLES,
        search_macs=SEARCH_MACS,
    )
    report = quantize_onnx_static(model, quantized, samples, options)
    found = report.sensitivity
    return report, fallback_reports(found, gates, aims) if found else []
