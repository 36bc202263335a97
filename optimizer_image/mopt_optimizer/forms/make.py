"""Makes one form of a prepared model; a form that cannot be made is that form's error alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.errors import (
    CalibrationError,
    ComparisonError,
    ExportError,
    ModelError,
    QuantizationError,
)
from mopt_optimizer.onnx_quantization import FloatType, convert_float
from mopt_optimizer.onnx_quantization.excluding import matching_nodes

from .form import Form, FormKind
from .material import Material
from .qdq import quantize

# FP16's headroom is for what these do not show.
OBSERVED_SAMPLES = 8
_FLOATS = {FormKind.ONNX_FP16: FloatType.FP16, FormKind.ONNX_BF16: FloatType.BF16}


def make(form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a form's file.

    The same material gives the same bytes.

    Raises:
        QuantizationError: It cannot be made of this model; says why.
        SpecError: A gate that does not fit the model's outputs.
        DiskError: No space left.
    """
    name = form.name(material.gates)
    if form.kind is FormKind.QDQ:
        return quantize(material.fp32, target, form.quantization, material.samples, material.gates)
    try:
        if form.kind in _FLOATS:
            return _float(name, _FLOATS[form.kind], material, target)
        if form.kind.of_tensorrt:
            from .tensorrt import make_tensorrt

            return make_tensorrt(name, form, material, target)
        if form.kind is FormKind.NNCF:
            return _nncf(name, form, material, target)
        with TemporaryDirectory(dir=target.parent) as folder:
            from .torch import make_torch

            return make_torch(name, form, material, target, Path(folder))
    except (CalibrationError, ComparisonError, ModelError, ExportError) as error:
        raise QuantizationError(f"cannot be made: {error}") from error


def _float(name: str, kind: FloatType, material: Material, target: Path) -> QuantizationReport:
    observed = islice(iter(material.samples), OBSERVED_SAMPLES) if material.samples else None
    report = convert_float(material.fp32, target, kind, observed)
    return QuantizationReport(name=name, quantized_nodes=report.converted, kept=dict(report.kept))


def _nncf(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    from mopt_optimizer.runtimes.openvino import NncfOptions, quantize_openvino_nncf

    exclude = matching_nodes(material.fp32, form.quantization.exclude)
    options = NncfOptions(exclude=exclude)
    report = quantize_openvino_nncf(material.fp32, target, material.samples, options)
    return QuantizationReport(name=name, quantized_nodes=report.fake_quantizers)
