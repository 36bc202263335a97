"""What a machine is found to have."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path

import pytest

from mopt_optimizer.machine.facts import count_gpus, this_machine


def test_installed_runtimes_are_found_without_opening_them() -> None:
    found = this_machine()
    assert {"PyTorch", "ONNXRuntime", "OpenVINO"} <= found.runtimes
    assert found.threads >= 1
    assert found.architecture


def test_tensorrt_is_there_only_where_its_module_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "TensorRT" not in this_machine().runtimes
    module = types.ModuleType("tensorrt")
    module.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert "TensorRT" in this_machine().runtimes
    module.__spec__ = None
    assert "TensorRT" not in this_machine().runtimes


@pytest.mark.parametrize("content", [None, b"no library"])
def test_no_driver_means_no_gpu(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "libcuda.so.1"
    if content is not None:
        path.write_bytes(content)
    assert count_gpus(str(path)) == 0


def test_a_library_that_is_no_driver_means_no_gpu() -> None:
    assert count_gpus("libc.so.6") == 0
