"""`mopt inspect` of a TensorRT engine, without TensorRT and without a GPU."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_process import Mopt, clean_environ

DATA = b"an engine"
WITHOUT = """
import sys
for name in ("tensorrt", "tensorrt_rtx", "torch", "onnxruntime", "openvino", "minio"):
    sys.modules[name] = None
sys.argv = ["mopt", *{arguments!r}]
from mopt_cli.main import run
sys.exit(run())
"""


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Return an engine of a few bytes, as if built for a GPU of compute capability 8.9."""
    path = tmp_path / "model.engine"
    path.write_bytes(DATA)
    image = {"name": "image", "dtype": "float32", "shape": [-1, 3, 64, 64]}
    profile = {"minimum": [1, 3, 64, 64], "optimum": [2, 3, 64, 64], "maximum": [4, 3, 64, 64]}
    manifest = {
        "digest": f"sha256:{hashlib.sha256(DATA).hexdigest()}",
        "sizeBytes": len(DATA),
        "backend": "tensorrt",
        "tensorrtVersion": "10.13.3.9",
        "computeCapabilities": ["8.9"],
        "gpu": "NVIDIA L4",
        "cuda": "13.0",
        "driver": "580.65.06",
        "precision": "INT8",
        "tf32": True,
        "inputs": [image | profile],
        "outputs": [{"name": "scores", "dtype": "float16", "shape": [-1, 10]}],
        "layerDatatypes": {"INT8": 12, "FP32": 3},
        "sourceDigest": f"sha256:{'1' * 64}",
    }
    (tmp_path / "model.engine.json").write_text(json.dumps(manifest))
    return path


def test_the_table_says_what_it_needs_and_why_it_does_not_fit(mopt: Mopt, engine: Path) -> None:
    done = mopt("inspect", engine)
    assert done.returncode == 0, done.stderr
    for words in (
        "TensorRT engine, INT8 with TF32",
        "verified",
        "tensorrt 10.13.3.9",
        "NVIDIA L4, CUDA 13.0, driver 580.65.06",
        "compute capability 8.9",
        "image float32 [?x3x64x64] 1x3x64x64 to 4x3x64x64, best 2x3x64x64",
        "scores float16 [?x10]",
        "12 INT8, 3 FP32",
        "fits here  no",
    ):
        assert words in done.stdout
    assert "no TensorRT here: tensorrt is not installed" in " ".join(done.stdout.split())


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_data_is_the_manifest_and_the_verdict(
    mopt: Mopt, engine: Path, form: str, load: Any
) -> None:
    found = load(mopt("inspect", engine, "-o", form).stdout)
    assert found["manifest"]["layerDatatypes"] == {"INT8": 12, "FP32": 3}
    assert (found["intact"], found["fits"]) == (True, False)
    assert "InvalidSpec" in [obstacle["reason"] for obstacle in found["obstacles"]]


def test_the_manifest_stands_for_its_engine(mopt: Mopt, engine: Path) -> None:
    by_manifest = mopt("inspect", f"{engine}.json", "-o", "json")
    assert by_manifest.stdout == mopt("inspect", engine, "-o", "json").stdout


def test_a_changed_engine_is_told(mopt: Mopt, engine: Path) -> None:
    engine.write_bytes(b"AN ENGINE")
    done = mopt("inspect", engine)
    assert done.returncode == 0
    assert "does NOT match the file" in done.stdout
    assert "DigestMismatch: model.engine is sha256:" in " ".join(done.stdout.split())


def test_an_engine_without_its_manifest_is_one_line(mopt: Mopt, engine: Path) -> None:
    Path(f"{engine}.json").unlink()
    done = mopt("inspect", engine)
    assert done.returncode == 1
    assert "has no manifest model.engine.json beside it" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_needs_no_runtime(engine: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(arguments=["inspect", str(engine)])],
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "fits here  no" in done.stdout
