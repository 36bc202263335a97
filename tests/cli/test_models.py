"""`mopt init`, `inspect` and `compare` on small real models."""

from __future__ import annotations

import json
import os
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_process import Mopt

pytestmark = pytest.mark.optimizer


def test_init_check_run(mopt: Mopt, small_pt2: Path, images: Path, tmp_path: Path) -> None:
    assert mopt("init", small_pt2, "-o", "my.yaml").returncode == 0
    spec = yaml.safe_load((tmp_path / "my.yaml").read_text())["spec"]
    assert spec["dimensions"]["height"] == {"min": 24, "opt": 128, "max": 256}
    assert mopt("check", "my.yaml").returncode == 0

    # As a user does: what is served is smaller, and fewer forms are of interest.
    document = yaml.safe_load((tmp_path / "my.yaml").read_text())
    document["spec"]["variants"] = [{"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"}]
    document["spec"]["benchmark"] = {"warmupSeconds": 0, "minDurationSeconds": 0.1}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(document))
    done = mopt(
        *("run", "my.yaml", "--model", small_pt2, "--output", "out"),
        *("--calibration", images / "calibration", "--evaluation", images / "evaluation"),
    )
    assert done.returncode == 0, done.stderr
    # The digest is the file's: nothing to tell.
    assert "sha256" not in done.stderr


def test_init_keeps_a_file_that_is_there(mopt: Mopt, small_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("mine")
    done = mopt("init", small_onnx, "-o", "my.yaml")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (tmp_path / "my.yaml").read_text() == "mine"
    assert mopt("init", small_onnx, "-o", "my.yaml", "--force").returncode == 0


def test_init_of_onnx_keeps_names_that_yaml_reads_otherwise(mopt: Mopt, small_onnx: Path) -> None:
    done = mopt("init", small_onnx)
    document = yaml.safe_load(done.stdout)
    assert document["metadata"]["name"] == "small-classifier"
    assert document["spec"]["inputs"][0]["shape"] == ["n", 16]
    assert mopt("check", "-", stdin=done.stdout).returncode == 0


@pytest.mark.parametrize("free", [-1, 0, "?"])
def test_axes_of_any_size_go_through(mopt: Mopt, tmp_path: Path, free: int | str) -> None:
    import onnx
    from onnx import TensorProto, helper

    axes = [free, 3, free, free]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["result"])],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, axes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "free.onnx")
    assert "image float32 [?, 3, ?, ?]" in mopt("inspect", "free.onnx").stdout
    written = mopt("init", "free.onnx")
    spec = yaml.safe_load(written.stdout)["spec"]
    assert spec["inputs"][0]["shape"] == ["batch", 3, "height", "width"]
    assert mopt("check", "-", stdin=written.stdout).returncode == 0


def test_init_of_torchscript_asks_for_shapes(mopt: Mopt, small_ts: Path) -> None:
    asked = mopt("init", small_ts)
    assert asked.returncode == 2
    assert "--input image:1x3x128x128" in asked.stderr
    done = mopt("init", small_ts, "--input", "image:1x3x32x32")
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load(done.stdout)["spec"]
    assert (spec["model"]["format"], spec["inputs"][0]["shape"]) == ("TorchScript", [1, 3, 32, 32])


def test_init_of_torchscript_takes_types(mopt: Mopt, tmp_path: Path) -> None:
    import torch

    class Words(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(20, 8)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.words(ids).mean(1)  # type: ignore[no-any-return]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        torch.jit.save(torch.jit.script(Words().eval()), tmp_path / "words.ts")
    done = mopt("init", "words.ts", "--input", "ids:2x5:int64", "--store", "s3://team")
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load(done.stdout)["spec"]
    assert spec["inputs"] == [{"name": "ids", "dtype": "int64", "shape": [2, 5]}]
    assert "did not run" not in done.stdout
    assert mopt("check", "-", stdin=done.stdout).returncode == 0


def inspected(mopt: Mopt, *arguments: object) -> dict[str, Any]:
    done = mopt("inspect", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_inspect_counts_a_program(mopt: Mopt, small_pt2: Path) -> None:
    found = inspected(mopt, small_pt2)
    assert found["parameters"] == 16 * 27 + 16 + 3 * 144 + 3
    assert found["operators"]["aten.conv2d.default"] == 2
    assert "flops" not in found
    symbols = [axis["symbol"] for axis in found["inputs"][0]["axes"] if "symbol" in axis]
    sizes = [1, 32, 32]
    options = [f"--dimension={n}={s}" for n, s in zip(symbols, sizes, strict=True)]
    counted = inspected(mopt, small_pt2, *options)
    assert counted["flops"] == 2 * 32 * 32 * (16 * 27 + 3 * 144)


def test_inspect_counts_onnx(mopt: Mopt, small_onnx: Path) -> None:
    found = inspected(mopt, small_onnx, "--dimension", "n=2")
    assert (found["parameters"], found["flops"], found["opset"]) == (160, 2 * 2 * 160, 18)
    shown = mopt("inspect", small_onnx).stdout
    assert "features float32 [n, 16]" in shown
    assert "give --dimension" in shown


def test_inspect_takes_a_tar(mopt: Mopt, small_onnx: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(small_onnx, "model.onnx")
    assert inspected(mopt, "model.tar") == inspected(mopt, small_onnx)


def test_inspect_names_what_torchscript_tells(mopt: Mopt, small_ts: Path) -> None:
    found = inspected(mopt, small_ts)
    assert (found["format"], found["inputs"]) == ("TorchScript", [{"name": "image"}])


@pytest.mark.parametrize("command", ["inspect", "init"])
def test_unsafe_program_is_refused(mopt: Mopt, command: str, tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save(Evil(), tmp_path / "evil.pt2")
    done = mopt(command, "evil.pt2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "owned").exists()


def test_compare_measures_what_is_asked_for(mopt: Mopt, small_pt2: Path, images: Path) -> None:
    rows = ("onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32")
    done = mopt(
        *("compare", small_pt2, "--seconds", 0, "-o", "json"),
        *("--calibration", images / "calibration", "--evaluation", images / "evaluation"),
        *(f"--strategy={row}" for row in rows),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    states = {row["name"]: row["state"] for row in found["rows"]}
    assert states == dict.fromkeys(("PyTorch FP32", *rows), "Measured")
    assert (found["samples"], found["calibration_samples"]) == (2, 2)


def test_compare_on_random_inputs_says_so(mopt: Mopt, small_pt2: Path) -> None:
    arguments = ("compare", small_pt2, "--seconds", 0, "--strategy", "onnxruntime-fp32")
    asked = mopt(*arguments)
    assert asked.returncode == 2
    assert "give --input image:1x3x128x128" in asked.stderr
    done = mopt(*arguments, "--input", "image:1x3x32x32", "--samples", 2)
    assert done.returncode == 0, done.stderr
    assert "quality is measured on random inputs" in done.stderr
    assert "image 1x3x32x32" in done.stdout


def test_compare_takes_no_onnx(mopt: Mopt, small_onnx: Path) -> None:
    done = mopt("compare", small_onnx)
    assert done.returncode == 2
    assert "give a .pt2 or TorchScript" in done.stderr
