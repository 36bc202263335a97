"""ONNX files that are damaged, foreign, too new, or whose weights lie elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from mopt_optimizer.errors import ExportError, ModelError, RuntimeFailure, UnsafeModelError
from mopt_optimizer.export import ONNXExportConfig, ONNXExporter, model_info
from mopt_optimizer.onnx_files.files import place_model
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import quantize_weights
from mopt_optimizer.opening.loading import open_onnx

from .conftest import Upscaler

pytestmark = pytest.mark.optimizer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "model.onnx"
    exporter = ONNXExporter(ONNXExportConfig(optimize=False))
    exporter.export(Upscaler().eval(), torch.rand(2, 3, 8, 8), path, {"image": {0: "n"}})
    return path


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_flipped_byte_gives_a_typed_error_or_a_model(
    exported: Path, tmp_path: Path, position: float, flip: int
) -> None:
    data = bytearray(exported.read_bytes())
    data[int(position * len(data))] ^= flip
    path = tmp_path / "flipped.onnx"
    path.write_bytes(data)
    # Errors of any other type fail the test.
    with suppress(ModelError):
        assert model_info(path).nodes > 0
        with suppress(RuntimeFailure):
            OnnxSession(path)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.999))
def test_truncated_file_is_never_taken(exported: Path, tmp_path: Path, share: float) -> None:
    data = exported.read_bytes()
    path = tmp_path / "short.onnx"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError):
        model_info(path)


def _relu(version: int) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 3]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


@pytest.mark.parametrize("version", [0, 1000])
def test_unknown_opset_says_which_are_known(tmp_path: Path, version: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(_relu(version).SerializeToString())
    with pytest.raises(ModelError, match=rf"uses opset {version}; 1 to \d+ are known"):
        open_onnx(path)


@pytest.fixture
def split(exported: Path, tmp_path: Path) -> Path:
    """The model with its weights in model.onnx.data."""
    path = tmp_path / "split" / "model.onnx"
    place_model(exported, path, external=True)
    return path


def test_weights_in_another_file_are_the_same_model(exported: Path, split: Path) -> None:
    info, other = model_info(exported), model_info(split)
    assert sorted(p.name for p in split.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert other.external_data == ["model.onnx.data"]
    assert (other.parameters, other.operators) == (info.parameters, info.operators)
    image = np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)
    found, expected = (OnnxSession(p).run({"image": image})[0] for p in (split, exported))
    np.testing.assert_array_equal(found, expected)


def _moved(path: Path, change: Callable[[onnx.StringStringEntryProto], None]) -> None:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            change(entry)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("/etc/passwd", UnsafeModelError, "only files in the model's folder"),
        ("../model.onnx.data", UnsafeModelError, "only files in the model's folder"),
        ("a/../../x", UnsafeModelError, "only files in the model's folder"),
        ("C:\\weights", UnsafeModelError, "only files in the model's folder"),
        ("link", UnsafeModelError, "symbolic link"),
        ("folder/x", UnsafeModelError, "symbolic link"),
        ("gone", ModelError, "lies in 'gone', which is missing: keep it beside the model"),
        ("", ModelError, "names no file"),
    ],
)
def test_weights_elsewhere_are_refused(
    split: Path, location: str, error: type[Exception], message: str
) -> None:
    (split.parent / "link").symlink_to(split.parent / "model.onnx.data")
    (split.parent / "folder").symlink_to(split.parent)

    def change(entry: onnx.StringStringEntryProto) -> None:
        if entry.key == "location":
            entry.value = location

    _moved(split, change)
    with pytest.raises(error, match=message):
        open_onnx(split)


def test_truncated_weights_say_so(split: Path) -> None:
    data = split.with_name("model.onnx.data")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"bytes long; the file has 100: it is truncated"):
        open_onnx(split)


def test_offset_that_is_no_number_says_so(split: Path) -> None:
    def change(entry: onnx.StringStringEntryProto) -> None:
        if entry.key == "offset":
            entry.value = "soon"

    _moved(split, change)
    with pytest.raises(ModelError, match="at an offset that is no number"):
        open_onnx(split)


@pytest.mark.parametrize("external", [False, True])
def test_weights_in_eight_bits(tmp_path: Path, external: bool) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(96, 128), torch.nn.Linear(128, 8, bias=False))
    path, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    config = ONNXExportConfig(optimize=False, external_data=external)
    ONNXExporter(config).export(network, torch.rand(2, 96), path, {"input": {0: "n"}})
    report = quantize_weights(path, target)
    # The second has too few values to be worth it.
    assert (report.weights, report.bytes_before) == (1, 4 * 96 * 128)
    assert report.bytes_after == 96 * 128 + 4 * 128
    assert bool(model_info(target).external_data) is external
    rows = np.random.default_rng(0).random((3, 96), dtype=np.float32)
    found, expected = (OnnxSession(p).run({"input": rows})[0] for p in (target, path))
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weight = np.ones((64, 64), np.float32)
    weight[3, 4] = np.nan
    model = _relu(17)
    model.graph.node[0].CopyFrom(helper.make_node("MatMul", ["x", "w"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="weight 'w' holds NaN or infinity"):
        quantize_weights(path, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()
    model.opset_import[0].version = 11
    onnx.save(model, path)
    with pytest.raises(ExportError, match="opset 11 has no scales per channel"):
        quantize_weights(path, tmp_path / "int8.onnx")
