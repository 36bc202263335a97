"""Static INT8: explicit Q/DQ nodes with scales from real calibration data."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mopt_api.spec import Calibrator, Precision, Quantization, Variant

from ._errors import OptimizerError
from .images import Inputs
from .verifying import OnnxSession, RuntimeFailure, first_line, new_session, ort_errors

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import TensorsData

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
    with TemporaryDirectory(dir=quantized.parent) as folder:
        try:
            inferred = _with_shapes(model, Path(folder))
            ranges = _ranges(inferred, quantization.calibrator, samples)
            _write(inferred, quantized, ranges, per_channel=quantization.per_channel)
            OnnxSession(quantized).run(samples[0])
        except RuntimeFailure as error:
            raise QuantizationError(f"the quantized model does not run: {error}") from error
        except _failures() as error:
            raise QuantizationError(
                f"ONNX Runtime cannot quantize it: {first_line(error)}"
            ) from error


def _with_shapes(model: Path, folder: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inferred = folder / "inferred.onnx"
    # Our passes have optimized it; only the shapes are wanted.
    quant_pre_process(str(model), str(inferred), skip_optimization=True, skip_symbolic_shape=True)
    return inferred


def _ranges(model: Path, calibrator: Calibrator, samples: Sequence[Inputs]) -> TensorsData:
    """Return the range of every activation, from one run of each sample.

    Not by quantize_static: its session takes a thread per core of the node, whatever the Pod's
    limit is, and it keeps the intermediate values of all samples.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    methods = {
        Calibrator.MIN_MAX: CalibrationMethod.MinMax,
        Calibrator.PERCENTILE: CalibrationMethod.Percentile,
    }
    observer = create_calibrator(
        model,
        _operators(),
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=methods[calibrator],
        # Symmetric: the percentile is one of magnitudes. It was the better one, 42.2 dB against
        # 41.8 (SRVGG x4); ranges of one sign stay so.
        extra_options={
            "percentile": PERCENTILE,
            "symmetric": calibrator is Calibrator.PERCENTILE,
        },
    )
    observer.infer_session = new_session(Path(observer.augmented_model_path), optimized=False)
    for sample in samples:
        observer.collect_data(_reader(sample))
    return observer.compute_data()


def _operators() -> list[str]:
    """Return the operators that are quantized, always in the same order."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _write(model: Path, quantized: Path, ranges: TensorsData, *, per_channel: bool) -> None:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    unsigned = platform.machine() in _X86
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(model),
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=_operators(),
        extra_options={"ActivationSymmetric": not unsigned},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(quantized), use_external_data_format=False)


def _failures() -> tuple[type[Exception], ...]:
    return (RuntimeError, ValueError, TypeError, KeyError, AssertionError, *ort_errors())


def _reader(sample: Inputs) -> CalibrationDataReader:
    """Return a reader of one sample: the calibrator forgets its values before the next."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._pending = [sample]

        def get_next(self) -> Inputs | None:
            return self._pending.pop() if self._pending else None

    return Reader()
