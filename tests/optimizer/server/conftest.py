"""Running servers of one small network in several forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from model_files import ModelFiles, write_model_files
from served_folders import Served, serving, write_folder

from mopt_api.enums import Precision, Runtime

FORMS = {
    "onnxruntime": (Runtime.ONNX_RUNTIME, Precision.INT8, "int8"),
    "openvino": (Runtime.OPENVINO, Precision.FP32, "onnx"),
    "pytorch": (Runtime.PYTORCH, Precision.FP32, "program"),
    "torchscript": (Runtime.PYTORCH, Precision.FP32, "script"),
}


@pytest.fixture(scope="session")
def served_files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_model_files(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def onnx_folder(served_files: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(
        tmp_path_factory.mktemp("folder") / "model", served_files.onnx, Runtime.ONNX_RUNTIME
    )


@pytest.fixture(scope="module")
def server(onnx_folder: Path) -> Iterator[Served]:
    """ONNX Runtime FP32: two instances that batch."""
    with serving(onnx_folder, "--instances=2", "--batch=4") as running:
        yield running
