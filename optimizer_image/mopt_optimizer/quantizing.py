"""Static INT8: explicit Q/DQ nodes with scales from real calibration data."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mopt_api.spec import Calibrator, Precision, Quantization, Variant

from ._errors import OptimizerError
from .images import Inputs
from .verifying import OnnxSession, RuntimeFailure, first_line, ort_errors

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader

# Of the values' magnitudes; the documentation of Calibrator.PERCENTILE names it.
PERCENTILE = 99.99
_X86 = ("x86_64", "AMD64", "i386", "i686")


class QuantizationError(OptimizerError):
    """A model that cannot be quantized: fails the variants that need it, not the Job."""


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
    unsigned on x86, where the kernels for that are the fast ones, and signed elsewhere.

    Args:
        samples: At least one; each runs through the FP32 model once.

    Raises:
        QuantizationError: The quantizer fails on this model, or its result does not run.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    methods = {
        Calibrator.MIN_MAX: CalibrationMethod.MinMax,
        Calibrator.PERCENTILE: CalibrationMethod.Percentile,
    }
    unsigned = platform.machine() in _X86
    with TemporaryDirectory(dir=quantized.parent) as folder:
        inferred = Path(folder) / "inferred.onnx"
        try:
            # Our passes have optimized it; only the shapes are wanted.
            quant_pre_process(
                str(model), str(inferred), skip_optimization=True, skip_symbolic_shape=True
            )
            quantize_static(
                str(inferred),
                str(quantized),
                _reader(samples),
                quant_format=QuantFormat.QDQ,
                per_channel=quantization.per_channel,
                activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[quantization.calibrator],
                extra_options={
                    "CalibPercentile": PERCENTILE,
                    # One sample's intermediate values in memory, not all samples'.
                    "CalibStridedMinMax": 1,
                    "ActivationSymmetric": not unsigned,
                },
            )
            OnnxSession(quantized).run(samples[0])
        except RuntimeFailure as error:
            raise QuantizationError(f"the quantized model does not run: {error}") from error
        except _failures() as error:
            raise QuantizationError(
                f"ONNX Runtime cannot quantize it: {first_line(error)}"
            ) from error


def _failures() -> tuple[type[Exception], ...]:
    return (RuntimeError, ValueError, TypeError, KeyError, AssertionError, *ort_errors())


def _reader(samples: Sequence[Inputs]) -> CalibrationDataReader:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out the samples of a range, in their order."""

        def __init__(self) -> None:
            self._pending: Iterator[Inputs] = iter(samples)

        def __len__(self) -> int:
            return len(samples)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._pending = (samples[index] for index in range(start_index, end_index))

        def get_next(self) -> Inputs | None:
            return next(self._pending, None)

    return Reader()
