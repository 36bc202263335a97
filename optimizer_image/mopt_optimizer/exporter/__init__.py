"""PyTorch models as ONNX files, verified; and what there is to know about such files."""

from __future__ import annotations

from .config import ONNXExportConfig
from .info import ModelInfo, model_info
from .onnx_exporter import ExportMetadata, ONNXExporter

__all__ = ["ExportMetadata", "ModelInfo", "ONNXExportConfig", "ONNXExporter", "model_info"]
