"""What lies beside an engine, and every reason not to load it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mopt_optimizer.errors import (
    DamagedEngine,
    DigestMismatch,
    EngineVersionMismatch,
    GpuNotFound,
    OptimizerError,
    UnusableEngine,
    WrongGpu,
)
from mopt_optimizer.machine.nvidia_clocks import gpu_clocks, nvidia_driver
from mopt_optimizer.machine.nvidia_gpus import Gpu, driver_version, visible_gpus
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.config import HardwareCompatibility
from mopt_optimizer.runtimes.tensorrt.loading import load_engine
from mopt_optimizer.runtimes.tensorrt.manifest import (
    SCHEMA_VERSION,
    EngineManifest,
    check_bytes,
    check_fits,
    manifest_path,
    read_manifest,
    write_engine,
)

DATA = b"an engine"
ADA = Gpu("NVIDIA L4", "8.9")
TURING = Gpu("Tesla T4", "7.5")


@pytest.fixture
def engine(tmp_path: Path, manifest: EngineManifest) -> Path:
    path = tmp_path / "model.engine"
    write_engine(path, DATA, manifest)
    return path


def test_what_is_written_is_read(engine: Path, manifest: EngineManifest) -> None:
    assert engine.read_bytes() == DATA
    assert read_manifest(engine) == manifest
    check_bytes(engine, manifest)
    assert {path.name for path in engine.parent.iterdir()} == {
        "model.engine",
        "model.engine.json",
    }


def test_an_engine_without_its_manifest_is_not_loaded(engine: Path) -> None:
    manifest_path(engine).unlink()
    with pytest.raises(DamagedEngine, match=r"no manifest model\.engine\.json beside it"):
        load_engine(engine)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"digest": "sha256:1"}', "is damaged"),
    ],
)
def test_a_damaged_manifest_is_told(engine: Path, text: str, words: str) -> None:
    manifest_path(engine).write_text(text)
    with pytest.raises(DamagedEngine, match=words):
        load_engine(engine)


def test_a_newer_manifest_asks_for_a_newer_mopt(engine: Path) -> None:
    path = manifest_path(engine)
    raw = json.loads(path.read_text()) | {"schemaVersion": SCHEMA_VERSION + 1}
    path.write_text(json.dumps(raw))
    with pytest.raises(UnusableEngine, match="take a newer one"):
        load_engine(engine)


def test_a_truncated_engine_is_told_by_its_size(engine: Path) -> None:
    engine.write_bytes(DATA[:4])
    with pytest.raises(DamagedEngine, match=r"truncated: 4 of 9 bytes"):
        load_engine(engine)


def test_a_grown_engine_is_not_what_was_written(engine: Path) -> None:
    engine.write_bytes(DATA + b"!")
    with pytest.raises(DamagedEngine, match=r"not what was written: 10 of 9 bytes"):
        load_engine(engine)


def test_a_tampered_engine_is_not_loaded(engine: Path) -> None:
    engine.write_bytes(b"AN ENGINE")
    with pytest.raises(DigestMismatch, match="changed after it was built; do not load it"):
        load_engine(engine)


def test_a_missing_engine_is_told(engine: Path) -> None:
    engine.unlink()
    with pytest.raises(DamagedEngine, match="does not exist"):
        load_engine(engine)


def tensorrt(version: str) -> Backend:
    return Backend(BackendName.TENSORRT, version, object())


@pytest.mark.parametrize(
    ("changes", "backend", "gpus", "kind", "words"),
    [
        (
            {},
            tensorrt("1.7.1.116"),
            [ADA],
            EngineVersionMismatch,
            r"built by tensorrt_rtx 1\.7\.1\.116, here is tensorrt 1\.7\.1\.116; install",
        ),
        ({"tensorrt_version": "1.6.1.120"}, None, [ADA], EngineVersionMismatch, "1.6.1.120, here"),
        ({}, None, [], GpuNotFound, "needs an NVIDIA GPU, and the driver shows none"),
        ({}, None, [TURING], WrongGpu, r"for compute capability 8\.6, 8\.9, here is Tesla T4 \(7"),
        # The first GPU is the one that is used.
        ({}, None, [TURING, ADA], WrongGpu, "Tesla T4"),
        (
            {"backend": "tensorrt", "gpu": "NVIDIA A10", "compute_capabilities": ["8.6"]},
            tensorrt("1.7.1.116"),
            [ADA],
            WrongGpu,
            r"built for NVIDIA A10, here is NVIDIA L4 \(8\.9\)",
        ),
        (
            {
                "backend": "tensorrt",
                "compute_capabilities": ["8.6"],
                "hardware_compatibility": HardwareCompatibility.AMPERE_PLUS,
            },
            tensorrt("1.7.1.116"),
            [TURING],
            WrongGpu,
            "T4",
        ),
        (
            {"backend": "tensorrt", "tensorrt_version": "11.4.0", "version_compatible": True},
            tensorrt("11.3.9"),
            [ADA],
            EngineVersionMismatch,
            "11.4.0, here is 11.3.9",
        ),
        (
            {"backend": "tensorrt", "tensorrt_version": "10.13.3", "version_compatible": True},
            tensorrt("11.4.0"),
            [ADA],
            EngineVersionMismatch,
            "10.13.3, here is 11.4.0",
        ),
    ],
)
def test_an_engine_that_does_not_fit_says_why(
    manifest: EngineManifest,
    rtx_stub: Backend,
    changes: dict[str, Any],
    backend: Backend | None,
    gpus: list[Gpu],
    kind: type[OptimizerError],
    words: str,
) -> None:
    changed = EngineManifest.model_validate(manifest.model_dump() | changes)
    with pytest.raises(kind, match=words):
        check_fits("model.engine", changed, backend or rtx_stub, gpus)


def test_an_engine_that_fits_is_taken(manifest: EngineManifest, rtx_stub: Backend) -> None:
    check_fits("model.engine", manifest, rtx_stub, [ADA])
    # RTX was given no list: what it chose is for RTX to say.
    any_gpu = manifest.model_copy(update={"compute_capabilities": []})
    check_fits("model.engine", any_gpu, rtx_stub, [TURING])


def test_compatible_engines_go_further(manifest: EngineManifest) -> None:
    changes = {
        "backend": BackendName.TENSORRT,
        "tensorrt_version": "10.9.0.34",
        "version_compatible": True,
        "compute_capabilities": ["8.0"],
        "hardware_compatibility": HardwareCompatibility.AMPERE_PLUS,
    }
    compatible = manifest.model_copy(update=changes)
    check_fits("model.engine", compatible, tensorrt("10.13.3.9"), [ADA])


def test_without_a_gpu_there_are_no_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mopt_optimizer.machine.nvidia_clocks.visible_gpus", list)
    assert gpu_clocks() is None


@pytest.mark.parametrize(("fails", "expected"), [(False, "580.65.06"), (True, None)])
def test_the_driver_is_named_where_nvml_tells(
    monkeypatch: pytest.MonkeyPatch, fails: bool, expected: str | None
) -> None:
    class NVMLError(Exception):
        pass

    def initialize() -> None:
        if fails:
            raise NVMLError("Driver Not Loaded")

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=initialize,
        nvmlShutdown=lambda: None,
        nvmlSystemGetDriverVersion=lambda: "580.65.06",
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert nvidia_driver() == expected
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia_driver() is None


def test_without_a_driver_there_are_no_gpus(tmp_path: Path) -> None:
    none = tmp_path / "libcuda.so.1"
    assert visible_gpus(str(none)) == []
    assert driver_version(str(none)) is None
    none.write_text("not a library")
    assert visible_gpus(str(none)) == []
    # A library that is no driver.
    assert visible_gpus("libc.so.6") == []
    assert driver_version("libc.so.6") is None
