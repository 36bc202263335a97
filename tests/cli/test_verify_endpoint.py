"""`mopt run`, `mopt serve` and `mopt verify-endpoint`, all real: one network, forms, servers."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_process import Mopt, run_mopt
from free_ports import free_port
from model_files import write_model_files
from served_folders import Served, serving

pytestmark = pytest.mark.optimizer

SPEC = {
    "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
    "dimensions": {
        "batch": {"min": 1, "opt": 1, "max": 4},
        "height": {"min": 24, "opt": 48, "max": 64},
        "width": {"min": 16, "opt": 64, "max": 64},
    },
    "variants": [
        {"name": "int8", "runtime": "ONNXRuntime", "precision": "INT8"},
        {"name": "fp32", "runtime": "ONNXRuntime", "precision": "FP32"},
        {"name": "openvino", "runtime": "OpenVINO", "precision": "FP32"},
    ],
    "quality": [{"metric": "PSNR", "minimum": 40}],
    "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1, "threads": 1},
}
MOPT = (sys.executable, "-m", "mopt_cli.main", "serve")


@dataclass(frozen=True)
class Measured:
    folder: Path
    result: Path
    document: dict[str, Any]

    def worst(self, variant: str) -> float:
        (found,) = (v for v in self.document["variants"] if v["name"] == variant)
        return float(found["quality"][0]["worst"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    model = write_model_files(folder).program
    shutil.copytree(images, folder / "images")
    document = {"apiVersion": "mopt.dev/v1alpha1", "kind": "ModelOptimization", "spec": SPEC}
    (folder / "resource.yaml").write_text(yaml.safe_dump(document))
    ran = run_mopt(
        folder,
        *("run", "resource.yaml", "--model", model, "--output", "out", "-o", "json"),
        *("--calibration", "images/calibration", "--evaluation", "images/evaluation"),
    )
    found = json.loads(ran.stdout)["result"]
    (result,) = (
        path
        for path in (folder / "out" / "blobs" / "sha256").iterdir()
        if path.read_bytes()[:1] == b"{" and b'"measuredAt"' in path.read_bytes()
    )
    return Measured(folder, result, found)


@pytest.fixture(scope="module")
def right(measured: Measured) -> Iterator[Served]:
    with serving(measured.result, "--variant=openvino", command=MOPT) as server:
        yield server


def test_a_server_of_the_measured_form_holds(mopt: Mopt, measured: Measured, right: Served) -> None:
    arguments = ("--result", measured.result, "--variant", "openvino", "-o", "json")
    for address in (("--url", right.url), ("--url", right.grpc, "--grpc", "--model", "model")):
        done = mopt("verify-endpoint", *address, *arguments, "--speed", 1000)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["holds"]
        assert {check["name"] for check in report["checks"]} == {
            *("model", "evaluation data", "PSNR", "speed")
        }
        (quality,) = report["quality"]
        assert quality["worst"] == pytest.approx(measured.worst("openvino"), abs=0.01)
        assert report["speed"]["runs"] >= 10
        assert report["overhead"]["computeMs"] > 0


def test_a_server_of_another_form_misses_the_gate(
    mopt: Mopt, measured: Measured, tmp_path: Path
) -> None:
    # Between INT8 and FP32, as a new verdict on the same measurement would have it.
    document = json.loads(measured.result.read_text())
    document["plan"]["quality"][0]["minimum"] = 100
    strict = tmp_path / "result.json"
    strict.write_text(json.dumps(document))
    with serving(measured.result, "--variant=int8", command=MOPT) as server:
        done = mopt("verify-endpoint", "--url", server.url, "--result", strict, "--variant", "fp32")
    assert done.returncode == 1
    assert "another function, since FP32 differs by rounding alone" in done.stderr
    assert re.search(r"PSNR: worst PSNR \d+\.\d+ is below 100$", done.stderr, re.MULTILINE)


def test_other_data_and_a_slower_server_are_told(
    mopt: Mopt, measured: Measured, right: Served
) -> None:
    done = mopt(
        *("verify-endpoint", "--url", right.url, "--result", measured.result),
        *("--variant", "openvino", "--speed", 0),
        *("--data", measured.folder / "images" / "calibration"),
    )
    assert done.returncode == 1
    assert "evaluation data: sha256:" in done.stderr
    assert "times, at most 1" in done.stderr  # HTTP takes longer than the call itself.


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        pytest.param(("--url", "ftp://x"), 2, "is not http://HOST:PORT", id="scheme"),
        pytest.param(("--url", "x:1", "--data", "nowhere"), 2, "--data nowhere", id="data"),
        pytest.param(("--url", "http://127.0.0.1:{free}"), 1, "does not answer", id="down"),
        pytest.param(("--url", "127.0.0.1:{free}", "--grpc"), 1, "does not answer", id="gRPC"),
        pytest.param(
            ("--url", "http://127.0.0.1:{free}", "--variant", "x"), 2, "no variant 'x'", id="form"
        ),
    ],
)
def test_one_line_says_what_is_wrong(
    mopt: Mopt, measured: Measured, options: tuple[str, ...], code: int, words: str
) -> None:
    given = [option.replace("{free}", str(free_port())) for option in options]
    done = mopt("verify-endpoint", *given, "--result", measured.result)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_that_the_server_does_not_have(
    mopt: Mopt, measured: Measured, right: Served
) -> None:
    done = mopt(
        *("verify-endpoint", "--url", right.url, "--result", measured.result, "--model", "other"),
    )
    assert done.returncode == 1
    assert "answers 404: Model with name other does not exist" in done.stderr
