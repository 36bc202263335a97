"""Files that users take for models: each is named, with the command that makes the right one."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mopt_optimizer.errors import BaselineError, ModelError, UnsafeModelError
from mopt_optimizer.formats.base import DescribeRequest
from mopt_optimizer.formats.registry import describe_file
from mopt_optimizer.opening.loading import load_exported_program, load_onnx, load_torchscript

pytestmark = pytest.mark.optimizer


def _saved(value: Any, **options: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def _state() -> Any:
    import torch

    return OrderedDict(torch.nn.Linear(2, 2).state_dict())


def _module() -> Any:
    import torch

    return torch.nn.Linear(2, 2)


def _zip(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def _of_module(name: str) -> bytes:
    """A pickle of protocol 2 that names an object of a module."""
    return b"\x80\x02c" + name.encode() + b"\nModel\n)\x81."


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "state_dict": (lambda: _saved(_state()), r"checkpoint of torch\.save.*load_state_dict.*export"),
    "legacy state_dict": (
        lambda: _saved(_state(), _use_new_zipfile_serialization=False),
        r"checkpoint of torch\.save.*load_state_dict.*export",
    ),
    "training checkpoint": (
        lambda: _saved({"model": _state(), "epoch": 3, "loss": 0.5}),
        r"checkpoint of torch\.save",
    ),
    "module": (lambda: _saved(_module()), r"a pickled module.*torch\.export\.save"),
    "Lightning": (
        lambda: _saved({"pytorch-lightning_version": "2.5", "state_dict": _state()}),
        "checkpoint of Lightning.*load_from_checkpoint",
    ),
    "Ultralytics": (lambda: _of_module("ultralytics.nn.tasks"), "Ultralytics.*yolo export"),
    "scikit-learn": (
        lambda: b"\x80\x04\x8c\x0csklearn.tree\x8c\x04Tree\x93)\x81.",
        "scikit-learn model: convert it with skl2onnx",
    ),
    "own class": (lambda: _of_module("mycompany.nets"), r"Python objects \(of mycompany\)"),
    "plain pickle": (lambda: pickle.dumps({"a": 1}), "a pickle of plain Python values"),
    "safetensors": (_safetensors, "safetensors.*load_state_dict"),
    "engine": (lambda: b"ftrt" + bytes(60), "TensorRT engine.*ONNX file"),
    "tflite": (lambda: b"\x1c\0\0\0TFL3" + bytes(60), "tf2onnx.convert --tflite"),
    "h5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(60), "Keras.*format='onnx'"),
    "keras": (
        lambda: _zip(**{"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b""}),
        "a Keras model.*format='onnx'",
    ),
    "GGUF": (lambda: b"GGUF\x03\0\0\0" + bytes(60), "GGUF"),
    "LFS": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "Git LFS pointer.*git lfs pull",
    ),
    "HTML": (lambda: b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page"),
    "gzip": (lambda: gzip.compress(b"model"), "gunzip"),
    "ZIP": (
        lambda: _zip(**{"model.onnx": b"", "readme.txt": b""}),
        "ZIP archive of 2 files that is no",
    ),
    "IR": (lambda: b'<?xml version="1.0"?>\n<net name="m" version="11">', "OpenVINO"),
}


@pytest.mark.parametrize("kind", FILES)
def test_each_is_named_with_its_remedy(kind: str, tmp_path: Path) -> None:
    content, message = FILES[kind]
    path = tmp_path / "model.pt"
    path.write_bytes(content())
    with pytest.raises(ModelError, match=rf"model\.pt is .*{message}") as caught:
        describe_file(DescribeRequest(path=str(path)), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FILES)
def test_each_reader_says_the_same(kind: str, tmp_path: Path) -> None:
    """A Job is told its format; the file is another all the same."""
    content, message = FILES[kind]
    path = tmp_path / "model"
    path.write_bytes(content())
    with pytest.raises(ModelError, match=message):
        load_exported_program(path, tmp_path)
    with pytest.raises(ModelError, match=message):
        load_torchscript(path, tmp_path)
    with pytest.raises(ModelError, match=message):
        load_onnx(path)


def test_what_would_run_code_is_unsafe(tmp_path: Path) -> None:
    for kind in ("module", "Ultralytics", "own class"):
        path = tmp_path / kind
        path.write_bytes(FILES[kind][0]())
        with pytest.raises(UnsafeModelError):
            load_exported_program(path, tmp_path)


def test_maps_of_a_classifier_are_named(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    scores = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    graph = helper.make_graph(
        [
            helper.make_node(
                "ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
            )
        ],
        "graph",
        [scores],
        [helper.make_value_info("scores", kind)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "classifier.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(ModelError, match=r"output scores is a sequence of maps.*zipmap=False"):
        describe_file(DescribeRequest(path=str(path)), tmp_path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_half_weights_of_a_script_are_named(tmp_path: Path) -> None:
    import torch

    from mopt_api.inputs import InputSpec
    from mopt_optimizer.formats.torchscript import script_cases

    script = torch.jit.trace(  # type: ignore[no-untyped-call]
        torch.nn.Linear(4, 4).half().eval(), torch.rand(1, 4).half()
    )
    torch.jit.save(script, tmp_path / "half.ts")
    module = load_torchscript(tmp_path / "half.ts", tmp_path)
    with pytest.raises(BaselineError, match=r"[Hh]alf.*weights are float16: .*model\.float\(\)"):
        script_cases(module, [InputSpec(name="input", shape=[1, 4])], {})


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_device_of_a_script_is_named(tmp_path: Path) -> None:
    import torch

    from mopt_api.inputs import InputSpec
    from mopt_optimizer.formats.torchscript import script_cases

    if torch.cuda.is_available():
        pytest.skip("its device is there")

    class OnGpu(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones([4], device=torch.device("cuda:0"))

    torch.jit.save(torch.jit.script(OnGpu()), tmp_path / "gpu.ts")
    module = load_torchscript(tmp_path / "gpu.ts", tmp_path)
    with pytest.raises(BaselineError, match=r"names the device cuda:0: .*model\.cpu\(\)"):
        script_cases(module, [InputSpec(name="x", shape=[1, 4])], {})
