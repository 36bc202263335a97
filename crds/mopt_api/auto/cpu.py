"""The variants that Auto knows for targets with CPUs only. Pure."""

from __future__ import annotations

from typing import Literal

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
    Rule,
    calibration,
    compiler,
    has_large_matrices,
    has_large_matrices_for_memory,
    has_large_weights,
    has_no_reduced_rival,
    has_own_bytes,
    has_weighted_layers,
    is_exported_program,
    is_for_bytes,
    is_for_size,
    is_for_speed,
    is_mostly_matrices,
    left_out,
    native_bf16,
    restores_weights,
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


def _weights(runtime: Runtime, bits: Literal[4, 8], why: str, *rules: Rule) -> Entry:
    prefix = runtime.value.lower()
    variant = Variant(
        name=f"{prefix}-int{bits}-weights",
        runtime=runtime,
        precision=Precision.INT8,
        quantization=Quantization(mode=QuantizationMode.WEIGHT_ONLY, weight_bits=bits),
    )
    return Entry(variant, why, (is_for_bytes, *rules))


def _openvino_int8(name: str, why: str, quantization: Quantization, *needs: Need) -> Entry:
    variant = Variant(
        name=name, runtime=Runtime.OPENVINO, precision=Precision.INT8, quantization=quantization
    )
    beside = quantization.float_precision is not FloatPrecision.FP32
    rules = (has_own_bytes, *_STATIC_RULES) if beside else _STATIC_RULES
    return Entry(variant, why, rules, (*_STATIC_NEEDS, *needs))


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
    _weights(
        Runtime.ONNX_RUNTIME,
        8,
        "weights alone in 8 bits: a quarter of the bytes, no data needed",
        restores_weights,
        has_large_weights,
    ),
    _weights(
        Runtime.ONNX_RUNTIME,
        4,
        "weights of matrices in 4 bits, by blocks: an eighth of the bytes, no data needed",
        has_large_matrices,
    ),
    Entry(
        Variant(name="openvino-fp32", runtime=Runtime.OPENVINO, precision=Precision.FP32),
        "FP32 without loss, OpenVINO's kernels",
    ),
    Entry(
        Variant(name="openvino-bf16", runtime=Runtime.OPENVINO, precision=Precision.BF16),
        "half the bits in arithmetic, FP32's range, no data needed",
        (has_own_bytes,),
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
    _weights(
        Runtime.OPENVINO,
        8,
        "weights alone in 8 bits, which OpenVINO's products read as they are; no data needed",
        has_large_weights,
        has_large_matrices_for_memory,
    ),
    _weights(
        Runtime.OPENVINO,
        4,
        "weights of matrices in 4 bits, by blocks, ONNX Runtime's file; no data needed",
        has_large_matrices,
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
