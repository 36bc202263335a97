"""Recorded answers of a GPU, and a bundle with a small encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make gpu-bundle` writes beside the wheels, without ONNX; the encoder is small."""
    from bench.gpu.bundle import write_bundle
    from bench.gpu.models import Sizes

    folder = tmp_path_factory.mktemp("bundle")
    small = Sizes(layers=1, width=32, heads=2, hidden=64, tokens=16)
    write_bundle(folder, small, onnx=False)
    return folder


@pytest.fixture
def machine() -> dict[str, Any]:
    """What bench.gpu.probe tells of a machine with a GPU, its form, not its figures."""
    return {
        "gpu": {
            "name": "NVIDIA H200",
            "computeCapability": "9.0",
            "memoryBytes": 150_754_820_096,
            "driver": "580.159.04",
            "multiprocessors": 132,
            "l2CacheBytes": 62_914_560,
            "torchArchitectures": ["sm_80", "sm_90"],
        },
        "driverCuda": "13.0",
        "torchCuda": "13.0",
        "clocks": {
            "sm_mhz": 345,
            "memory_mhz": 3201,
            "power_watts": 77.4,
            "temperature_celsius": 31,
            "throttling": (),
        },
        "python": "3.12.3",
        "kernel": "6.18.44",
        "versions": {"torch": "2.11.0", "triton": "3.6.0"},
        "libraries": {
            "onnxruntime-gpu": False,
            "onnxruntime-gpu with TensorRT": False,
            "tensorrt": False,
            "openvino": False,
            "nncf": False,
        },
    }
