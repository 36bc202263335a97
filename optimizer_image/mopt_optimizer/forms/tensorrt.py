"""Writes the typed ONNX file that an INT8 or FP8 engine is built from: TensorRT adds no types.

What is not in 8 bits computes in FP16 where that is safe, not in FP32: users report that 8-bit
engines with FP32 layers are often slower than pure FP16 ones. Layers that gates exclude from 8 bits
become FP16 too; those that a user excludes stay FP32, as the API says.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from mopt_api.jobs.plan import fallback_gates
from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.onnx_quantization import (
    Calibration,
    FloatOptions,
    StaticOptions,
    narrow_quantized,
    raise_opset,
)
from mopt_optimizer.onnx_quantization.excluding import matching_nodes
from mopt_optimizer.quality import fitting_gates
from mopt_optimizer.runtimes.tensorrt import TensorRTConfig
from mopt_optimizer.runtimes.tensorrt.typed_models import options_for

from .floats import OBSERVED_SAMPLES
from .form import Form
from .material import Material
from .qdq import quantize_gated
from .registry import FormKind


def make_tensorrt(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a model in 8 bits and FP16, with Q/DQ nodes where TensorRT fuses them.

    Raises:
        QuantizationError: It cannot be quantized, or a gate holds only if all of it is FP32.
        SpecError: A gate that does not fit the model's outputs.
        CalibrationError, ModelError, ExportError, DiskError.
    """
    quantization = form.quantization
    exclude = matching_nodes(material.fp32, quantization.exclude)
    gates = fallback_gates(quantization, list(material.gates))
    with TemporaryDirectory(dir=target.parent) as folder:
        raised, quantized = Path(folder) / "raised.onnx", Path(folder) / "quantized.onnx"
        raise_opset(material.fp32, raised)
        options = _options(form, raised, exclude)
        with fitting_gates():
            report, fallbacks = quantize_gated(
                raised, quantized, material.samples, options, gates, form.aims
            )
        observed = islice(iter(material.samples), OBSERVED_SAMPLES)
        half = narrow_quantized(raised, quantized, target, observed, FloatOptions(keep=exclude))
    return QuantizationReport(
        name=name,
        quantized_nodes=report.quantized_nodes,
        kept={**report.kept, **half.kept},
        fallbacks=fallbacks,
    )


def _options(form: Form, model: Path, exclude: tuple[str, ...]) -> StaticOptions:
    """Return how Q/DQ nodes are placed; FP8 weights always have one scale per tensor."""
    quantization = form.quantization
    own = Calibration(quantization.calibrator.value)
    fp8 = form.kind is FormKind.TENSORRT_FP8
    options = options_for(
        model,
        TensorRTConfig(
            int8_mode=not fp8,
            fp8_mode=fp8,
            calibration=Calibration.BEST if form.best else own,
            per_channel=None if fp8 else quantization.per_channel,
            exclude=exclude,
        ),
    )
    seconds = quantization.search_budget_seconds
    return replace(options, search_seconds=seconds, start=tuple(form.start))
