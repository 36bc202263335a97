"""Export of PyTorch models to verified ONNX files, and facts about such files."""

from __future__ import annotations

from mopt_optimizer.onnx_files.info import ModelInfo, model_info

from .config import ONNXExportConfig
from .divergence import Divergence, first_divergence, onnx_values
from .exporter import ExportMetadata, ONNXExporter, export_onnx

__all__ = [
    "Divergence",
    "ExportMetadata",
    "ModelInfo",
    "ONNXExportConfig",
    "ONNXExporter",
    "export_onnx",
    "first_divergence",
    "model_info",
    "onnx_values",
]
