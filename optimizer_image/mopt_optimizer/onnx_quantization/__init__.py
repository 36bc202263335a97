"""Quantization and precision of ONNX files: static and dynamic INT8, FP16, BF16, sensitivity.

Importing the package loads neither onnx nor a runtime; the functions do.
"""

from __future__ import annotations

from .dynamic import DynamicOptions, DynamicReport, quantize_onnx_dynamic
from .floating import FloatOptions, FloatReport, FloatType, convert_float
from .histograms import RangeObserver
from .mixed import narrow_quantized, raise_opset
from .qdq import Scheme, has_native_int8, scheme_for
from .ranges import Calibration, tensor_range
from .sensitivity import LayerSensitivity, SensitivityReport
from .static import StaticOptions, StaticReport, analyze_sensitivity, quantize_onnx_static
from .with_ranges import quantize_onnx_with_ranges

__all__ = [
    "Calibration",
    "DynamicOptions",
    "DynamicReport",
    "FloatOptions",
    "FloatReport",
    "FloatType",
    "LayerSensitivity",
    "RangeObserver",
    "Scheme",
    "SensitivityReport",
    "StaticOptions",
    "StaticReport",
    "analyze_sensitivity",
    "convert_float",
    "has_native_int8",
    "narrow_quantized",
    "quantize_onnx_dynamic",
    "quantize_onnx_static",
    "quantize_onnx_with_ranges",
    "raise_opset",
    "scheme_for",
    "tensor_range",
]
