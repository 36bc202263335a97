"""The ONNX file given to TensorRT: its data types are those that the engine computes in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mopt_api.enums import Precision
from mopt_optimizer.errors import CalibrationError
from mopt_optimizer.onnx_files.float_models import open_float_model, save_model
from mopt_optimizer.onnx_files.layers import WEIGHTED
from mopt_optimizer.onnx_quantization import (
    FloatOptions,
    FloatReport,
    FloatType,
    Scheme,
    StaticOptions,
    StaticReport,
    convert_float,
    narrow_quantized,
    quantize_onnx_static,
    quantize_onnx_with_ranges,
    raise_opset,
)
from mopt_optimizer.onnx_quantization.observing import Sample
from mopt_optimizer.opening.loading import open_onnx

from .calibration_cache import read_calibration_cache
from .config import TensorRTConfig
from .fp8 import OPERATORS, why_not_fp8

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class TypedModel:
    """An ONNX file for TensorRT.

    Attributes:
        path: The file.
        eight_bits: How it was quantized to INT8 or FP8; None if it was not, or from a calibration
            cache.
        half: What became FP16 or BF16; None if nothing did.
    """

    path: Path
    eight_bits: StaticReport | None = None
    half: FloatReport | None = None


def static_options(config: TensorRTConfig) -> StaticOptions:
    """Return options that place Q/DQ nodes where TensorRT fuses them.

    INT8: symmetric, before every Conv, ConvTranspose, Gemm and MatMul, on their weights per output
    channel, and on what is added to their output. Outputs are not quantized by their own layer but
    where the next one reads them, so after the activation, Add or Concat: one scale for the whole
    Concat. Biases are not quantized: TensorRT adds them in 32 bits.

    FP8: likewise before Conv, Gemm and MatMul. Weights use one scale per tensor: floats lose
    nothing by it, and TensorRT for RTX applies per-channel scales in a separate kernel, with the
    bias and the activation. Added tensors are not quantized: they take a separate kernel in any
    case.
    """
    return StaticOptions(
        calibration=config.calibration,
        percentile=config.percentile,
        scheme=Scheme.FP8 if config.fp8_mode else Scheme.S8S8,
        per_channel=not config.fp8_mode if config.per_channel is None else config.per_channel,
        exclude=config.exclude,
        layer_outputs=False,
        biases=False,
        layers_only=True,
        operators=OPERATORS if config.fp8_mode else WEIGHTED,
        gates=() if config.gate is None else (config.gate,),
    )


def options_for(model_path: Path, config: TensorRTConfig) -> StaticOptions:
    """Return static_options for a model, excluding nodes that TensorRT cannot compute in FP8."""
    options = static_options(config)
    if not config.fp8_mode:
        return options
    impossible = [n for n in why_not_fp8(open_float_model(model_path)) if n not in options.exclude]
    return replace(options, exclude=(*options.exclude, *impossible))


def write_typed_model(
    model_path: Path,
    out_path: Path,
    config: TensorRTConfig,
    samples: Iterable[Sample] | None = None,
    calibration_cache: Path | None = None,
) -> TypedModel:
    """Write the file that an engine is built from; this needs no TensorRT.

    TensorRTOptimizer.build_typed builds from it.

    Args:
        out_path: Output file, written atomically.

    Raises:
        As typed_model.
    """
    with TemporaryDirectory(prefix="mopt-tensorrt-") as folder:
        typed = typed_model(model_path, Path(folder), config, samples, calibration_cache)
        keep_typed(typed.path, out_path)
    return replace(typed, path=out_path)


def keep_typed(typed: Path, target: Path) -> None:
    """Copy a model, including its external data."""
    save_model(open_onnx(typed), target, typed.parent)


def typed_model(
    model_path: Path,
    folder: Path,
    config: TensorRTConfig,
    samples: Iterable[Sample] | None,
    calibration_cache: Path | None,
) -> TypedModel:
    """Return a model in the data types of a config, written to `folder` if it changes.

    Args:
        model_path: ONNX, FP32; for 8 bits, a model that has Q/DQ nodes is used unchanged.
        samples: Calibration data, read once. FP16 with 8 bits reads it twice, and holds in memory
            what can be read only once, such as a generator.
        calibration_cache: TensorRT's, instead of samples.

    Raises:
        ModelError: Not a valid ONNX file.
        CalibrationError: INT8 or FP8 without samples or a cache, or they do not match the model.
        QuantizationError, ExportError, DiskError: As quantize_onnx_static and convert_float.
    """
    model = open_onnx(model_path)
    if config.precision is Precision.FP32:
        return TypedModel(model_path)
    if config.eight_bits:
        if any(node.op_type in _QUANTIZED for node in model.graph.node):
            return TypedModel(model_path)
        return _eight_bits(model_path, folder, config, samples, calibration_cache)
    kind = FloatType.FP16 if config.fp16_mode else FloatType.BF16
    path = folder / f"{model_path.stem}.{kind.lower()}.onnx"
    options = FloatOptions(keep=config.exclude)
    report = convert_float(model_path, path, kind, samples, options)
    return TypedModel(path, half=report)


def _eight_bits(
    model_path: Path,
    folder: Path,
    config: TensorRTConfig,
    samples: Iterable[Sample] | None,
    calibration_cache: Path | None,
) -> TypedModel:
    kind = config.precision.lower()
    if samples is None and calibration_cache is None:
        raise CalibrationError(
            f"{kind}_mode: {model_path.name} has no Q/DQ nodes yet, so calibration data is needed: "
            "give calibration_data (dicts of input name to array), or a calibration_cache"
        )
    path = folder / f"{model_path.stem}.{kind}.onnx"
    source = model_path
    if config.fp16_mode:
        source = folder / f"{model_path.stem}.raised.onnx"
        raise_opset(model_path, source)
        # Read twice: for the ranges, and for values that overflow FP16.
        if samples is not None and iter(samples) is samples:
            samples = list(samples)
    options = options_for(source, config)
    report = None
    if calibration_cache is not None:
        ranges = read_calibration_cache(calibration_cache).ranges
        quantize_onnx_with_ranges(source, path, ranges, options)
    elif samples is not None:
        report = quantize_onnx_static(source, path, samples, options)
    if not config.fp16_mode:
        return TypedModel(path, report)
    mixed = folder / f"{model_path.stem}.{kind}-fp16.onnx"
    half = narrow_quantized(source, path, mixed, samples, FloatOptions(keep=config.exclude))
    return TypedModel(mixed, report, half)
