"""Quantization and precision of ONNX files: static and dynamic INT8, FP16, BF16, sensitivity.

Importing the package loads neither onnx nor a runtime; the functions do.
"""

from __future__ import annotations

from .calibration import Calibration
from .dynamic import DynamicOptions, DynamicReport, quantize_onnx_dynamic
from .floating import FloatOptions, FloatReport, FloatType, convert_float
from .histograms import RangeObserver
from .mixed import narrow_quantized, raise_opset
from .qdq import Scheme, scheme_for
from .ranges import tensor_range
from .reports import GateReport, LayerSensitivity, SensitivityReport
from .static import analyze_sensitivity, quantize_onnx_static
from .static_options import StaticOptions, StaticReport
from .weight_only import WeightOptions, WeightReport, quantize_weights
from .with_ranges import quantize_onnx_with_ranges

__all__ = [
    "Calibration",
    "DynamicOptions",
    "DynamicReport",
    "FloatOptions",
    "FloatReport",
    "FloatType",
    "GateReport",
    "LayerSensitivity",
    "RangeObserver",
    "Scheme",
    "SensitivityReport",
    "StaticOptions",
    "StaticReport",
    "WeightOptions",
    "WeightReport",
    "analyze_sensitivity",
    "convert_float",
    "narrow_quantized",
    "quantize_onnx_dynamic",
    "quantize_onnx_static",
    "quantize_onnx_with_ranges",
    "quantize_weights",
    "raise_opset",
    "scheme_for",
    "tensor_range",
]
