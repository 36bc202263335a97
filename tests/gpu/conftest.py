"""What tests on a GPU need; each that is missing skips with its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from super_resolution import Samples, tiles, write_network

from mopt_optimizer.errors import TensorRTNotInstalled
from mopt_optimizer.machine.nvidia_gpus import Gpu, visible_gpus
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName, find_backend

SIDE = 64


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    found = visible_gpus()
    if not found:
        pytest.skip("no NVIDIA GPU: the driver (libcuda.so.1) shows none")
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} cannot use the GPU: it needs a build for CUDA")
    return found[0]


@pytest.fixture(scope="session", params=list(BackendName))
def backend(request: pytest.FixtureRequest, gpu: Gpu) -> Backend:
    try:
        found = find_backend(request.param)
    except TensorRTNotInstalled as error:
        pytest.skip(str(error))
    if found.targets and gpu.compute_capability not in found.targets:
        pytest.skip(f"{found} builds for {', '.join(found.targets)}, not for {gpu}")
    return found


@pytest.fixture(scope="session")
def network(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("srvgg"))


@pytest.fixture(scope="session")
def calibration(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("calibration")
    return tiles({"astronaut.png": 2, "coffee.png": 2}, folder, SIDE)


@pytest.fixture(scope="session")
def evaluation(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return tiles({"chelsea.png": 2}, tmp_path_factory.mktemp("evaluation"), SIDE)
