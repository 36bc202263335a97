"""The command line as a process, and small real models."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cli_process import Mopt, clean_environ, run_mopt
from minio_server import MinioServer, minio_running

if TYPE_CHECKING:
    import torch


SPEC: dict[str, Any] = {
    "model": {"uri": "s3://models/small.pt2", "sha256": "0" * 64, "format": "ExportedProgram"},
    "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
    "dimensions": {
        "batch": {"min": 1, "opt": 1, "max": 4},
        "height": {"min": 16, "opt": 32, "max": 64},
        "width": {"min": 16, "opt": 32, "max": 64},
    },
    "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1},
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a ModelOptimization with fields of spec changed; None drops one."""

    def write(name: str = "resource.yaml", **changes: Any) -> Path:
        spec = {k: v for k, v in (SPEC | changes).items() if v is not None}
        path = tmp_path / name
        document = {"apiVersion": "mopt.dev/v1alpha1", "kind": "ModelOptimization", "spec": spec}
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def write_small(write: Callable[..., Path]) -> Callable[..., Path]:
    """As write, for small_onnx and one variant."""
    return partial(
        write,
        model=None,
        inputs=[{"name": "features", "shape": ["n", 16]}],
        dimensions={"n": {"min": 1, "opt": 1, "max": 4}},
        variants=[{"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"}],
    )


@pytest.fixture
def mopt(tmp_path: Path) -> Mopt:
    """Return what runs the command line in the test's folder."""

    return partial(run_mopt, tmp_path)


@pytest.fixture
def mopt_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Mopt:
    """As mopt, in this process: it starts at once."""
    from mopt_cli.main import run

    def mopt(*arguments: object, stdin: str = "", **environ: str) -> Any:
        for name in os.environ.keys() - clean_environ().keys():
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mopt", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = run()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return subprocess.CompletedProcess([*map(str, arguments)], code, said.out, said.err)

    return mopt


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with minio_running(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def network() -> torch.nn.Module:
    """Two convolutions around a skip, for any batch and size."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
            self.second = torch.nn.Conv2d(16, 3, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = image + 0.1 * self.second(torch.relu(self.first(image)))
            return result

    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="session")
def small_pt2(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a program; its height is bounded."""
    import torch

    path = tmp_path_factory.mktemp("model") / "small.pt2"
    height = torch.export.Dim("height", min=24, max=256)
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            network,
            (torch.rand(2, 3, 32, 40),),
            dynamic_shapes={"image": {0: dynamic, 2: height, 3: dynamic}},
        )
        torch.export.save(program, path)
    return path


@pytest.fixture(scope="session")
def small_ts(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as TorchScript."""
    import torch

    path = tmp_path_factory.mktemp("model") / "small.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        script = torch.jit.trace(network, torch.rand(2, 3, 24, 40))  # type: ignore[no-untyped-call]
        torch.jit.save(script, path)
    return path


@pytest.fixture(scope="session")
def small_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier in ONNX: batch is named n, which YAML reads as a boolean."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((16, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weight"], ["scores"], name="classify")],
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weight, "weight")],
    )
    path = tmp_path_factory.mktemp("model") / "Small Classifier.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders calibration and evaluation with two real photographs each, 64x48."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    source = Path(skimage.data.__file__).parent
    kinds = {
        "calibration": ("astronaut.png", "coffee.png"),
        "evaluation": ("chelsea.png", "rocket.jpg"),
    }
    for kind, names in kinds.items():
        (folder / kind).mkdir()
        for name in names:
            with Image.open(source / name) as picture:
                small = picture.convert("RGB").resize((64, 48), Image.Resampling.LANCZOS)
            small.save(folder / kind / f"{Path(name).stem}.png")
    return folder
