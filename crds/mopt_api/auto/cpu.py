"""The variants that Auto knows for targets with CPUs only. Pure."""

from __future__ import annotations

from mopt_api.enums import (
    Calibrator,
    FloatPrecision,
    Precision,
    QuantizationMethod,
    QuantizationMode,
    Runtime,
    TorchMode,
)
from mopt_api.variants import Quantization, Variant

from .rules import (
    Entry,
    Need,
    calibration,
    compiler,
    has_no_reduced_rival,
    has_weighted_layers,
    is_exported_program,
    is_for_size,
    is_for_speed,
    is_mostly_matrices,
    left_out,
    native_bf16,
)

_STATIC_RULES, _STATIC_NEEDS = (has_weighted_layers,), (calibration,)
_BEHIND = left_out(
    "OpenVINO computes this precision faster, without compiling; list it in spec.variants to serve "
    "with PyTorch"
)


def _onnxruntime(name: str, why: str, quantization: Quantization) -> Entry:
    static = quantization.mode is QuantizationMode.STATIC
    variant = Variant(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.INT8,
        quantization=quantization,
    )
    if static:
        return Entry(variant, why, _STATIC_RULES, _STATIC_NEEDS)
    return Entry(variant, why, (is_mostly_matrices,))


def _openvino_int8(name: str, why: str, quantization: Quantization, *needs: Need) -> Entry:
    variant = Variant(
        name=name, runtime=Runtime.OPENVINO, precision=Precision.INT8, quantization=quantization
    )
    return Entry(variant, why, _STATIC_RULES, (*_STATIC_NEEDS, *needs))


# In order of preference: of variants that are equally good the first is selected.
CPU_POOL = (
    Entry(
        Variant(name="onnxruntime-fp32", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
        "FP32 without loss, its graph optimized",
    ),
    _onnxruntime(
        "onnxruntime-int8", "INT8 over the full range of the calibration data", Quantization()
    ),
    _onnxruntime(
        "onnxruntime-int8-percentile",
        "INT8 without outliers: finer steps where a few values are extreme",
        Quantization(calibrator=Calibrator.PERCENTILE),
    ),
    _onnxruntime(
        "onnxruntime-int8-dynamic",
        "INT8 with ranges determined at run time; suits MatMul and Gemm, needs no data",
        Quantization(mode=QuantizationMode.DYNAMIC),
    ),
    Entry(
        Variant(name="onnxruntime-fp16", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP16),
        "half the bytes, close to FP32",
        (is_for_size,),
    ),
    Entry(
        Variant(name="openvino-fp32", runtime=Runtime.OPENVINO, precision=Precision.FP32),
        "FP32 without loss, OpenVINO's kernels",
    ),
    Entry(
        Variant(name="openvino-bf16", runtime=Runtime.OPENVINO, precision=Precision.BF16),
        "half the bits in arithmetic, FP32's range, no data needed",
        needs=(native_bf16,),
    ),
    _openvino_int8("openvino-int8", "ONNX Runtime's INT8 file, OpenVINO's kernels", Quantization()),
    _openvino_int8(
        "openvino-int8-bf16",
        "the same file, what is not INT8 in BF16 instead of FP32",
        Quantization(float_precision=FloatPrecision.BF16),
        native_bf16,
    ),
    _openvino_int8(
        "openvino-int8-nncf",
        "INT8 by OpenVINO's quantizer",
        Quantization(method=QuantizationMethod.NNCF),
    ),
    Entry(
        Variant(
            name="pytorch-compiled",
            runtime=Runtime.PYTORCH,
            precision=Precision.FP32,
            torch_mode=TorchMode.COMPILED,
        ),
        "INT8 and BF16 are not available here, and it is sometimes the fastest FP32 runtime",
        (is_exported_program, is_for_speed, has_no_reduced_rival),
        (compiler,),
    ),
    Entry(
        Variant(name="pytorch-bf16", runtime=Runtime.PYTORCH, precision=Precision.BF16),
        "",
        (is_exported_program, _BEHIND),
    ),
    Entry(
        Variant(name="pytorch-int8", runtime=Runtime.PYTORCH, precision=Precision.INT8),
        "",
        (is_exported_program, _BEHIND),
    ),
)
