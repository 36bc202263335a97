"""What is said of an engine that is not loaded: all that is in its way, each with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from mopt_api.reasons import Reason
from mopt_optimizer.errors import DamagedEngine, TensorRTNotInstalled
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.runtimes.tensorrt.backends import Backend
from mopt_optimizer.runtimes.tensorrt.inspecting import inspect_engine
from mopt_optimizer.runtimes.tensorrt.manifest import EngineManifest, manifest_path, write_engine

DATA = b"an engine"
ADA = Gpu("NVIDIA L4", "8.9")


@pytest.fixture
def engine(tmp_path: Path, manifest: EngineManifest) -> Path:
    path = tmp_path / "model.engine"
    write_engine(path, DATA, manifest)
    return path


def not_installed(name: str) -> Backend:
    raise TensorRTNotInstalled(f"no TensorRT here: {name} is not installed")


def test_an_engine_that_fits(engine: Path, manifest: EngineManifest, rtx_stub: Backend) -> None:
    found = inspect_engine(engine, find=lambda _name: rtx_stub, gpus=lambda: [ADA])
    assert (found.intact, found.fits, found.obstacles) == (True, True, [])
    assert found.manifest == manifest


def test_everything_in_its_way_is_told(engine: Path) -> None:
    engine.write_bytes(b"AN ENGINE")
    found = inspect_engine(engine, find=not_installed, gpus=list)
    assert (found.intact, found.fits) == (False, False)
    assert [o.reason for o in found.obstacles] == [
        Reason.DIGEST_MISMATCH,
        Reason.INVALID_SPEC,
        Reason.ACCELERATOR_NOT_FOUND,
    ]
    assert "tensorrt_rtx is not installed" in found.obstacles[1].message


def test_a_missing_engine_is_an_obstacle_too(engine: Path, rtx_stub: Backend) -> None:
    engine.unlink()
    found = inspect_engine(engine, find=lambda _name: rtx_stub, gpus=lambda: [ADA])
    assert not found.intact
    assert [o.reason for o in found.obstacles] == [Reason.INVALID_MODEL]


def test_another_gpu_does_not_make_it_damaged(engine: Path, rtx_stub: Backend) -> None:
    turing = Gpu("Tesla T4", "7.5")
    found = inspect_engine(engine, find=lambda _name: rtx_stub, gpus=lambda: [turing])
    assert (found.intact, found.fits) == (True, False)
    assert "Tesla T4" in found.obstacles[0].message


def test_without_a_manifest_nothing_is_known(engine: Path) -> None:
    manifest_path(engine).unlink()
    with pytest.raises(DamagedEngine, match="no manifest"):
        inspect_engine(engine)
