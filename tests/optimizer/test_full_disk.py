"""A full disk ends in DiskError, which a retry may cure, and leaves nothing half-written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mopt_optimizer import (
    ModelQuantizer,
    QuantizationConfig,
    QuantizationType,
    convert_float,
    export_onnx,
    quantize_onnx_dynamic,
    quantize_onnx_static,
)
from mopt_optimizer.errors import DiskError
from mopt_optimizer.onnx_quantization import FloatType

pytestmark = pytest.mark.optimizer

SIZE_KIB = 64


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_KIB}k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """256 KiB of weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 8)).eval()


@pytest.fixture(scope="module")
def onnx_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "model.onnx"
    export_onnx(network, torch.rand(2, 256), path, {"input": {0: "batch"}})
    return path


SAMPLES = [{"input": np.random.default_rng(n).random((1, 256), np.float32)} for n in range(4)]


def _export(network: nn.Module, _source: Path, target: Path) -> None:
    export_onnx(network, torch.rand(2, 256), target, {"input": {0: "batch"}})


def _save_quantized(network: nn.Module, _source: Path, target: Path) -> None:
    config = QuantizationConfig(quantization_type=QuantizationType.BF16)
    ModelQuantizer(config).quantize(network, [torch.rand(2, 256)]).save(target.with_suffix(".pt2"))


def _static(_network: nn.Module, source: Path, target: Path) -> None:
    quantize_onnx_static(source, target, SAMPLES)


def _dynamic(_network: nn.Module, source: Path, target: Path) -> None:
    quantize_onnx_dynamic(source, target)


def _halves(_network: nn.Module, source: Path, target: Path) -> None:
    convert_float(source, target, FloatType.FP16, SAMPLES)


Write = Callable[[nn.Module, Path, Path], None]


@pytest.mark.parametrize("write", [_export, _save_quantized, _static, _dynamic, _halves])
def test_full_disk_is_typed_and_leaves_nothing(
    write: Write, network: nn.Module, onnx_file: Path, tiny_disk: Path
) -> None:
    with pytest.raises(DiskError) as refusal:
        write(network, onnx_file, tiny_disk / "model.onnx")
    assert refusal.value.retryable
    assert list(tiny_disk.iterdir()) == []
