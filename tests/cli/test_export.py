"""`mopt export` of a small real model: each folder is loaded, and gives the reported quality."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_process import Mopt, clean_environ, run_mopt
from numpy.typing import NDArray
from triton_config import parsed, type_name

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.status import Report
from mopt_cli.export_sources import resource_source
from mopt_cli.table import target_status
from mopt_optimizer.digests import file_digest
from mopt_optimizer.serving import served_variant
from mopt_optimizer.store.files import fetch_files

pytestmark = pytest.mark.optimizer

Array = NDArray[np.float32]
VARIANTS = [
    {"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"},
    {"name": "ort-int8", "runtime": "ONNXRuntime", "precision": "INT8"},
    {"name": "ov-int8", "runtime": "OpenVINO", "precision": "INT8"},
]
DIMENSIONS = {
    "batch": {"min": 1, "opt": 1, "max": 4},
    "height": {"min": 24, "opt": 48, "max": 64},
    "width": {"min": 16, "opt": 64, "max": 64},
}
# Kernels differ a little between threads and machines; above, nothing but rounding differs.
CLOSE_DECIBELS = 0.1
ROUNDING_DECIBELS = 120.0


def assert_as_measured(found: float, measured: float) -> None:
    """Hold a PSNR to the one that was measured."""
    bounded = [min(value, ROUNDING_DECIBELS) for value in (found, measured)]
    assert bounded[0] == pytest.approx(bounded[1], abs=CLOSE_DECIBELS)


@dataclass(frozen=True)
class Measured:
    """What `mopt run` left.

    Attributes:
        result: The file result.json, in the output folder.
        references: The FP32 output for each evaluation image.
    """

    output: Path
    result: Path
    report: dict[str, Any]
    images: list[Array]
    references: list[Array]

    def variant(self, name: str) -> dict[str, Any]:
        rows = [self.report["result"]["baseline"], *self.report["result"]["variants"]]
        found: dict[str, Any] = next(row for row in rows if row["name"] == name)
        return found

    def psnr(self, name: str) -> float:
        (quality,) = self.variant(name)["quality"]
        worst: float = quality["worst"]
        return worst

    def worst_psnr(self, run: Callable[[Array], Array]) -> float:
        from mopt_optimizer.quality.metrics.psnr import psnr

        pairs = zip(self.images, self.references, strict=True)
        return min(psnr(reference, run(image), 1.0) for image, reference in pairs)


@pytest.fixture(scope="session")
def measured(small_pt2: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    import torch
    from PIL import Image

    folder = tmp_path_factory.mktemp("measured")
    spec = {
        "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
        "dimensions": DIMENSIONS,
        "variants": VARIANTS,
        "quality": [{"metric": "PSNR", "minimum": 30, "dataRange": 1}],
        "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1},
        "objective": {"metric": "SizeBytes"},
    }
    document = {"apiVersion": "mopt.dev/v1alpha1", "kind": "ModelOptimization", "spec": spec}
    (folder / "resource.yaml").write_text(yaml.safe_dump(document))
    data = {kind: images / kind for kind in ("calibration", "evaluation")}
    done = run_mopt(
        folder,
        *("run", "resource.yaml", "--model", small_pt2, "--output", "out", "-o", "json"),
        *("--calibration", data["calibration"], "--evaluation", data["evaluation"]),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    arrays = []
    for path in sorted(data["evaluation"].iterdir()):
        with Image.open(path) as picture:
            values = np.asarray(picture, np.float32) / np.float32(255)
        arrays.append(np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis]))
    program = torch.export.load(small_pt2).module()
    with torch.inference_mode():
        references = [program(torch.from_numpy(array)).numpy() for array in arrays]
    digest = report["report"]["digest"].removeprefix("sha256:")
    result = folder / "out" / "blobs" / "sha256" / digest
    return Measured(folder / "out", result, report, arrays, references)


def onnx_runtime(file: Path, parameters: Mapping[str, str]) -> Callable[[Array], Array]:
    """Return what plain ONNX Runtime makes of a file, with the options in config.pbtxt."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(parameters["intra_op_thread_count"])
    options.inter_op_num_threads = int(parameters["inter_op_thread_count"])
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(image: Array) -> Array:
        found: Array = session.run(None, {name: image})[0]
        return found

    return run


def openvino(file: Path, properties: Mapping[str, str]) -> Callable[[Array], Array]:
    """Return what plain OpenVINO makes of a file, with the options in config.json."""
    import openvino as ov

    compiled = ov.Core().compile_model(str(file), "CPU", dict(properties))

    def run(image: Array) -> Array:
        found: Array = np.array(compiled(image)[0])
        return found

    return run


@pytest.mark.parametrize("variant", ["ort", "ort-int8"])
@pytest.mark.parametrize("layout", ["triton", "kserve"])
def test_triton_folder_by_plain_onnx_runtime(
    mopt: Mopt, measured: Measured, tmp_path: Path, variant: str, layout: str
) -> None:
    import onnx

    done = mopt("export", measured.result, "--as", layout, "-o", "folder", "--variant", variant)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "folder/small/1/model.onnx"
    assert set(done.stdout.splitlines()) == {
        "folder/mopt.json",
        "folder/small/1/model.onnx",
        "folder/small/config.pbtxt",
    }
    digest = measured.variant(variant)["artifact"]["digest"]
    assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" == digest

    config = parsed((tmp_path / "folder/small/config.pbtxt").read_bytes())
    graph = onnx.load(file).graph
    for tensors, values in ((config.input, graph.input), (config.output, graph.output)):
        for tensor, value in zip(tensors, values, strict=True):
            kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            shape = [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]
            assert (tensor.name, type_name(tensor)) == (value.name, {"FLOAT": "TYPE_FP32"}[kind])
            assert list(tensor.dims) == shape[1:]
    assert config.max_batch_size == 4
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    threads = measured.report["result"]["hardware"]["threads"]
    assert parameters["intra_op_thread_count"] == str(threads)

    run = onnx_runtime(file, parameters)
    assert_as_measured(measured.worst_psnr(run), measured.psnr(variant))
    four = np.repeat(measured.images[0], 4, axis=0)
    assert run(four).shape == four.shape


@pytest.mark.parametrize("layout", ["ovms", "kserve"])
def test_openvino_folder_by_plain_openvino(
    mopt: Mopt, measured: Measured, tmp_path: Path, layout: str
) -> None:
    done = mopt("export", measured.result, "--as", layout, "-o", "folder", "--variant", "ov-int8")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((tmp_path / "folder/config.json").read_text())["model_config_list"]
    model = tmp_path / "folder" / entry["config"]["base_path"] / "1" / "model.onnx"
    run = openvino(model, entry["config"]["plugin_config"])
    assert_as_measured(measured.worst_psnr(run), measured.psnr("ov-int8"))


@pytest.mark.parametrize(
    ("layout", "variant", "file"),
    [
        ("triton", "ort-int8", "small/1/model.onnx"),
        ("ovms", "ov-int8", "1/model.onnx"),
        ("files", "ov-int8", "model.onnx"),
        ("files", "baseline", "model.pt2"),
    ],
)
def test_each_folder_by_model_manager(
    mopt: Mopt,
    measured: Measured,
    small_pt2: Path,
    tmp_path: Path,
    layout: str,
    variant: str,
    file: str,
) -> None:
    from mopt_optimizer.manager import ModelManager

    done = mopt("export", measured.result, "--as", layout, "-o", "folder", "--variant", variant)
    assert done.returncode == 0, done.stderr
    row = measured.variant(variant)
    manager = ModelManager(tmp_path / "registry", cache=tmp_path / "cache", environ={})
    manager.register("net", tmp_path / "folder" / file if variant == "baseline" else small_pt2)
    if variant != "baseline":
        manager.add_form(
            "net",
            variant,
            tmp_path / "folder" / file,
            runtime=row["runtime"],
            precision=row["precision"],
            verdict="Passed",
            selected=True,
        )
    with manager.load_optimized_model("net") as model:
        assert model.form.name == variant

        def run(image: Array) -> Array:
            (found,) = model.run({"image": image}).values()
            return found

        expected = 200 if variant == "baseline" else measured.psnr(variant)
        assert_as_measured(measured.worst_psnr(run), expected)


def test_selected_form_is_the_default(mopt: Mopt, measured: Measured, tmp_path: Path) -> None:
    selected = measured.report["result"]["selected"]
    done = mopt("export", measured.result, "--as", "files", "-o", "folder")
    assert done.returncode == 0, done.stderr
    (file,) = [path for path in (tmp_path / "folder").glob("model.*") if path.suffix != ".data"]
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert digest == measured.variant(selected)["artifact"]["digest"]


def test_output_that_was_moved_is_found_beside_the_result(
    mopt: Mopt, measured: Measured, tmp_path: Path
) -> None:
    shutil.copytree(measured.output, tmp_path / "moved")
    result = tmp_path / "moved" / measured.result.relative_to(measured.output)
    artifact = measured.variant("ort-int8")["artifact"]["digest"].removeprefix("sha256:")
    (tmp_path / "moved/blobs/sha256" / artifact).write_bytes(b"another file")
    done = mopt("export", result, "--as", "triton", "-o", "folder", "--variant", "ort-int8")
    assert done.returncode == 1
    assert "DigestMismatch" in done.stderr, "it read the folder that mopt run wrote"
    assert not (tmp_path / "folder").exists()
    again = mopt("export", result, "--as", "triton", "-o", "folder", "--variant", "ort")
    assert again.returncode == 0, again.stderr
    assert not list(tmp_path.glob(".folder.*"))


def in_status(measured: Measured, served: str) -> dict[str, Any]:
    """Return a resource whose status has the result, and says to serve one of its forms."""
    result = MeasureResult.model_validate(measured.report["result"])
    status = target_status(result, Report.model_validate(measured.report["report"])).to_api()
    row = measured.variant(served)
    status["artifact"] = row["artifact"] | {
        "variant": served,
        "runtime": row["runtime"],
        "precision": row["precision"],
        "report": measured.report["report"]["digest"],
        "generation": 1,
        "time": "2026-11-29T00:00:00Z",
    }
    return {"metadata": {"name": "net"}, "status": {"targets": [status]}}


@pytest.mark.parametrize(
    ("asked", "expected"), [(None, "ort"), ("ort-int8", "ort-int8")], ids=["served", "named"]
)
def test_a_resource_gives_what_its_status_says(
    measured: Measured, tmp_path: Path, asked: str | None, expected: str
) -> None:
    source = resource_source(in_status(measured, "ort"), "default", asked)
    assert source.name == "net"
    row = measured.variant(expected)
    artifact = served_variant(source.result, asked or source.variant).artifact
    assert artifact is not None
    assert artifact.digest == row["artifact"]["digest"]
    (tmp_path / "files").mkdir()
    (path,) = fetch_files(source.blobs_of(artifact), artifact, tmp_path / "files").values()
    assert file_digest(path) == artifact.digest


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--as", "triton"], 2, "--as triton makes a folder: name it with -o"),
        (["--as", "triton", "-o", "taken"], 2, "taken exists: remove it, or name another"),
        (
            ["--as", "ovms", "-o", "x", "--variant", "ort"],
            2,
            "choose a variant of runtime OpenVINO",
        ),
        (["--as", "triton", "-o", "x", "--variant", "baseline"], 2, "is a program of torch.export"),
        (
            ["--as", "files", "-o", "x", "--variant", "none"],
            2,
            "no variant 'none'; it has files of",
        ),
        (["--as", "files", "-o", "x", "--target", "gpu"], 2, "is the result of target default"),
        (["--as", "kserve-yaml"], 2, "give the name of a ModelOptimization"),
        (["--as", "tritn", "-o", "x"], 2, "Invalid value"),
    ],
    ids=[
        "no folder",
        "a folder that exists",
        "another runtime's server",
        "a program in Triton",
        "no such variant",
        "another target",
        "a manifest of a file",
        "no such layout",
    ],
)
def test_refused(
    mopt: Mopt, measured: Measured, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    done = mopt("export", measured.result, *arguments)
    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_file_that_is_no_result_is_refused(mopt: Mopt, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    done = mopt("export", "other.json", "--as", "files", "-o", "folder")
    assert done.returncode == 2
    assert "other.json is not a result.json: target: Field required" in done.stderr


def test_name_that_is_no_file_is_looked_for_in_the_cluster(mopt: Mopt, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environ = clean_environ() | {"HOME": str(tmp_path / "home"), "KUBECONFIG": ""}
    done = mopt("export", "other.json", "--as", "files", "-o", "folder", **environ)
    assert done.returncode == 2
    assert "no kubeconfig" in done.stderr
