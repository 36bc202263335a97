"""PyTorch models as ONNX files, verified; and what there is to know about such files."""

from __future__ import annotations

from .benchmark import benchmark_onnx
from .config import ONNXExportConfig
from .divergence import Divergence, first_divergence, onnx_values
from .info import ModelInfo, model_info
from .onnx_exporter import ExportMetadata, ONNXExporter, export_onnx
from .weight_quantization import WeightReport, quantize_weights

__all__ = [
    "Divergence",
    "ExportMetadata",
    "ModelInfo",
    "ONNXExportConfig",
    "ONNXExporter",
    "WeightReport",
    "benchmark_onnx",
    "export_onnx",
    "first_divergence",
    "model_info",
    "onnx_values",
    "quantize_weights",
]
