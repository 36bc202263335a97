"""Distributions that execute models, by runtime."""

from __future__ import annotations

from mopt_api.enums import Runtime

LIBRARIES = {
    Runtime.PYTORCH: "torch",
    Runtime.ONNX_RUNTIME: "onnxruntime",
    Runtime.OPENVINO: "openvino",
    Runtime.TENSORRT: "tensorrt",
}
"""The distribution whose version says what executed a variant."""
