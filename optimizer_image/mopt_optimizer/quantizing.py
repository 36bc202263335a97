"""Static INT8: explicit Q/DQ nodes with scales from real calibration data."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from mopt_api.spec import Precision, Quantization, Variant

from ._errors import CalibrationError, ExportError, ModelError, QuantizationError
from .images import Inputs
from .onnx_quantization import Calibration, Scheme, StaticOptions, quantize_onnx_static
from .onnx_quantization.qdq import X86

__all__ = ["QuantizationError", "artifact_name", "quantization_of", "quantize"]


def quantization_of(variant: Variant) -> Quantization | None:
    """Return how a variant is quantized; None where it is not."""
    if variant.precision is not Precision.INT8:
        return None
    return variant.quantization or Quantization()


def artifact_name(quantization: Quantization) -> str:
    """Return what names the prepared artifact of these options, such as int8-minmax-perchannel."""
    scales = "perchannel" if quantization.per_channel else "pertensor"
    return f"int8-{quantization.calibrator.lower()}-{scales}"


def quantize(
    model: Path, quantized: Path, quantization: Quantization, samples: Sequence[Inputs]
) -> None:
    """Write a model with activations and weights in 8 bits, scales from the samples.

    The same model and samples give the same bytes. Samples are run one at a time. Activations are
    unsigned on x86, where the kernels for that are the fast ones, and signed elsewhere: whatever
    x86 prepares the file, since it serves them all.

    Args:
        samples: At least one; each runs through the FP32 model once.

    Raises:
        QuantizationError: The quantizer fails on this model, its samples do not fit it, or its
            result does not run.
        DiskError: No space left.
    """
    options = StaticOptions(
        calibration=Calibration(quantization.calibrator.value),
        scheme=Scheme.U8S8 if platform.machine() in X86 else Scheme.S8S8,
        per_channel=quantization.per_channel,
    )
    try:
        quantize_onnx_static(model, quantized, samples, options)
    except (CalibrationError, ModelError, ExportError) as error:
        raise QuantizationError(f"cannot be quantized: {error}") from error
