"""`mopt verify --measure`: a stranger measures a published form again, with the real stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Mopt
from proved_image import Folder, facts, make_keys, publish

from mopt_api.jobs.measure_result import MeasureResult

pytestmark = pytest.mark.optimizer

VARIANTS = [{"name": "ort-int8", "runtime": "ONNXRuntime", "precision": "INT8"}]
HEIGHT = {"min": 24, "opt": 48, "max": 64}
WIDTH = {"min": 16, "opt": 64, "max": 64}
DIMENSIONS = {"batch": {"min": 1, "opt": 1, "max": 4}, "height": HEIGHT, "width": WIDTH}


def test_quality_is_found_again_and_other_data_are_refused(
    mopt: Mopt, small_pt2: Path, images: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    gates = [{"metric": "PSNR", "minimum": 30}]
    file = write(model=None, dimensions=DIMENSIONS, variants=VARIANTS, quality=gates)
    data = images / "evaluation"
    ran = mopt(
        *("run", file, "--model", small_pt2, "--output", "out", "-o", "json"),
        *("--calibration", images / "calibration", "--evaluation", data),
    )
    assert ran.returncode == 0, ran.stderr
    result = MeasureResult.model_validate(json.loads(ran.stdout)["result"])
    keys, folder = make_keys(tmp_path / "keys"), Folder(tmp_path / "layout")
    known = facts(result=result, variant="ort-int8")
    blob = tmp_path / "out" / "blobs" / known.form.artifact.replace(":", "/")
    digest = publish(
        folder,
        tmp_path / "files",
        keys.private,
        content=blob.read_bytes(),
        result=result,
        variant="ort-int8",
    )
    arguments = ("verify", f"oci:{folder.path}@{digest}", "--key", keys.public, "-o", "json")
    again = mopt(*arguments, "--measure", data, "--source", small_pt2)
    assert again.returncode == 0, again.stderr
    checks = {c["name"]: c for c in json.loads(again.stdout)["manifests"][0]["checks"]}
    assert checks["PSNR measured here"]["holds"]
    assert checks["evaluation data here"]["holds"]
    assert "no interval is known" in checks["speedup measured here"]["message"]

    other = mopt(*arguments, "--measure", images / "calibration", "--source", small_pt2)
    assert other.returncode == 1
    assert "is refused: evaluation data here" in other.stderr

    changed = tmp_path / "changed.pt2"
    changed.write_bytes(small_pt2.read_bytes() + b"\0")
    wrong = mopt(*arguments, "--measure", data, "--source", changed)
    assert wrong.returncode == 1
    found = hashlib.sha256(changed.read_bytes()).hexdigest()
    assert f"has sha256 {found}" in wrong.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(("--measure", "."), "needs the source model too", id="no source"),
        pytest.param(("--source", "."), "are for --measure", id="no data"),
        pytest.param(("--measure", "nowhere", "--source", "x"), "is not there", id="no folder"),
    ],
)
def test_options_belong_together(mopt: Mopt, options: tuple[str, ...], message: str) -> None:
    done = mopt("verify", "oci:layout", "--key", "pub.pem", *options)
    assert done.returncode == 2
    assert message in done.stderr
