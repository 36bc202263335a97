"""The typed ONNX file that an engine in INT8 is built from: TensorRT has no types of its own.

What is not in 8 bits computes in FP16 where that is safe, not in FP32: beside INT8 in FP32, which
TensorRT runs at half the speed or less, an engine is often slower than one in FP16 alone. Layers
that gates leave out of INT8 become FP16 too; those that a user excludes stay FP32, as the API says.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from mopt_api.plan import fallback_gates
from mopt_api.result import QuantizationReport

from ._errors import NoClasses, NotAnImage, QuantizationError, SpecError
from .forms import Form, FormKind
from .making import OBSERVED_SAMPLES, Material
from .onnx_quantization import Calibration, FloatOptions, narrow_quantized, raise_opset
from .onnx_quantization.excluding import matching_nodes
from .quantizing import quantize_gated
from .tensorrt_engines import TensorRTConfig
from .tensorrt_engines.typed_models import static_options


def make_tensorrt(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a model in INT8 with FP16 beside it, with Q/DQ nodes where TensorRT fuses them.

    Raises:
        QuantizationError: It cannot be quantized, or a gate holds only with all of it in FP32.
        SpecError: A gate that does not fit the model's outputs.
        CalibrationError, ModelError, ExportError, DiskError.
    """
    if form.kind is FormKind.TENSORRT_FP8:
        raise QuantizationError("FP8 is not made yet")
    quantization = form.quantization
    exclude = matching_nodes(material.fp32, quantization.exclude)
    own = Calibration(quantization.calibrator.value)
    calibration = Calibration.BEST if form.best else own
    config = TensorRTConfig(int8_mode=True, calibration=calibration, exclude=exclude)
    options = replace(static_options(config), per_channel=quantization.per_channel)
    gates = fallback_gates(quantization, list(material.gates))
    with TemporaryDirectory(dir=target.parent) as folder:
        raised, int8 = Path(folder) / "raised.onnx", Path(folder) / "int8.onnx"
        raise_opset(material.fp32, raised)
        try:
            report, fallbacks = quantize_gated(raised, int8, material.samples, options, gates)
        except NotAnImage as error:
            raise SpecError(f"quality: {error}; leave SSIM out") from error
        except NoClasses as error:
            raise SpecError(f"quality: {error}; leave Top1Agreement out") from error
        observed = islice(iter(material.samples), OBSERVED_SAMPLES)
        half = narrow_quantized(raised, int8, target, observed, FloatOptions(keep=exclude))
    return QuantizationReport(
        name=name,
        quantized_nodes=report.quantized_nodes,
        kept=dict(half.kept),
        fallbacks=fallbacks,
    )
