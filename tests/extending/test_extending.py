"""A runtime, a pass, a metric, a format and a store from outside go through prepare, measure and
the table, and no file of the product knows of them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.optimizer

HERE = Path(__file__).resolve().parent
MODEL = """<ir_version: 10, opset_import: ["" : 18]>
scale (float[batch, 4] x) => (float[batch, 4] y)
<float[4] weight = {1.0, 2.0, 3.0, 4.0}>
{
    first = Neg(x)
    second = Neg(first)
    scaled = Mul(second, weight)
    y = Sigmoid(scaled)
}
"""
SPEC = {
    "apiVersion": "mopt.dev/v1alpha1",
    "kind": "ModelOptimization",
    "metadata": {"name": "scale"},
    "spec": {
        "model": {"uri": "model.onnxtxt", "sha256": "0" * 64, "format": "OnnxText"},
        "inputs": [{"name": "x", "shape": ["batch", 4]}],
        "dimensions": {"batch": {"min": 1, "opt": 2, "max": 4}},
        "variants": [
            {"name": "reference", "runtime": "Reference", "precision": "FP32"},
            {"name": "onnxruntime", "runtime": "ONNXRuntime", "precision": "FP32"},
        ],
        "quality": [{"metric": "MeanAbsError", "maximum": 0.001}],
        "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 1},
        "output": {"uri": "out"},
    },
}


def environ() -> dict[str, str]:
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MOPT_EXTENSIONS": "toys"}


def mopt(
    *arguments: str, folder: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mopt_cli.main", *arguments],
        cwd=folder,
        env=environ() if env is None else env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnxtxt").write_text(MODEL)
    (tmp_path / "scale.yaml").write_text(yaml.safe_dump(SPEC))
    samples = tmp_path / "samples"
    samples.mkdir()
    generator = np.random.default_rng(0)
    for number in range(2):
        np.save(samples / f"{number}.npy", generator.random((2, 4), np.float32))
    return tmp_path


def test_what_an_extension_adds_goes_all_the_way(folder: Path) -> None:
    output = f"sqlite://{folder}/store.db/scale"
    arguments = ("--model", "model.onnxtxt", "--evaluation", "samples", "--output", output)
    done = mopt("run", "scale.yaml", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    # The table: the runtime's row and state, winner (*) or not, the metric's words.
    rows = [line.removeprefix("*").split() for line in done.stdout.splitlines()]
    assert any(row[:2] == ["reference", "Passed"] for row in rows)
    assert "MeanAbsError" in done.stdout
    assert f"result: sqlite://{folder}/store.db/scale/blobs/" in done.stdout
    found = objects(folder / "store.db")
    (manifest,) = [d for d in found if "verifications" in d and "artifacts" in d]
    assert manifest["source"]["format"] == "OnnxText"
    kept = {p["name"]: p["outcome"] for p in manifest["passes"] if p["outcome"] == "Kept"}
    assert "eliminate_double_negation" in kept
    assert manifest["operators"] == {"Mul": 1, "Sigmoid": 1}
    (result,) = [d for d in found if "baseline" in d]
    assert result["baseline"]["runtime"] == "Reference"
    by_name = {variant["name"]: variant for variant in result["variants"]}
    assert by_name["reference"]["quality"][0]["metric"] == "MeanAbsError"
    assert by_name["onnxruntime"]["quality"][0]["worst"] < 1e-6


def objects(file: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a store."""
    with sqlite3.connect(file) as db:
        blobs = [row[0] for row in db.execute("SELECT data FROM objects WHERE key LIKE '%blobs%'")]
    return [json.loads(blob) for blob in blobs if blob[:1] == b"{"]


def test_without_the_extension_its_values_are_refused_by_name(folder: Path) -> None:
    plain = {name: value for name, value in environ().items() if name != "MOPT_EXTENSIONS"}
    done = mopt("check", "scale.yaml", folder=folder, env=plain)
    assert done.returncode != 0
    assert "OnnxText" in done.stdout + done.stderr or "model.format" in done.stdout + done.stderr


def test_an_extension_that_is_not_there_is_named(folder: Path) -> None:
    done = mopt("check", "scale.yaml", folder=folder, env={**environ(), "MOPT_EXTENSIONS": "none"})
    assert done.returncode != 0
    assert "No module named 'none'" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_file_of_the_product_knows_of_them() -> None:
    root = HERE.parents[1]
    product = [root / part for part in ("crds", "operator", "optimizer_image", "cli")]
    files = [path for part in product for path in part.rglob("*.py")]
    assert len(files) > 300
    words = ("OnnxText", "MeanAbsError", "eliminate_double_negation", "sqlite")
    assert [f for f in files if any(word in f.read_text() for word in words)] == []
