"""ONNX files whose exporters wrote an axis of any size in their own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mopt_api.enums import Precision, Runtime
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.formats.base import Source
from mopt_optimizer.formats.onnx import Onnx
from mopt_optimizer.opening.free_axes import names_a_size
from mopt_optimizer.opening.loading import load_onnx
from mopt_optimizer.opening.model_inputs import onnx_inputs
from mopt_optimizer.progress import Timings
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import open_runner

pytestmark = pytest.mark.optimizer

SIZES = {
    "batch": DimensionRange(min=1, opt=1, max=2),
    "height": DimensionRange(min=16, opt=16, max=64),
    "width": DimensionRange(min=16, opt=24, max=96),
}
IMAGE = InputSpec(name="image", shape=["batch", 3, "height", "width"])
AXES = [
    pytest.param([-1, 3, -1, -1], id="-1"),
    pytest.param([0, 3, 0, 0], id="0"),
    pytest.param(["?", 3, "?", "?"], id="question mark"),
    pytest.param(["", 3, "", ""], id="empty"),
    pytest.param(["None", 3, "None", "None"], id="None"),
    pytest.param([0, 3, "?", "-1"], id="mixed"),
]


def write(path: Path, axes: list[int | str], result: list[int | str] | None = None) -> Path:
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["image"], ["a"]),
            helper.make_node("Concat", ["a", "a"], ["b"], axis=2),
            helper.make_node("Sigmoid", ["b"], ["result"]),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, result or axes)],
        value_info=[helper.make_tensor_value_info("b", TensorProto.FLOAT, axes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def source(path: Path, workdir: Path) -> Source:
    return Source(path, [IMAGE], SIZES, workdir, Timings(lambda *_, **__: None))


@pytest.mark.parametrize("axes", AXES)
def test_each_is_a_size_of_its_own(tmp_path: Path, axes: list[int | str]) -> None:
    path = write(tmp_path / "model.onnx", axes)
    (found,) = onnx_inputs(load_onnx(path))
    assert [(axis.size, axis.symbol) for axis in found.axes] == [
        (None, None),
        (3, None),
        (None, None),
        (None, None),
    ]
    cases = Onnx().to_onnx(source(path, tmp_path), tmp_path / "fp32.onnx")
    written = load_onnx(tmp_path / "fp32.onnx").graph
    assert [d.dim_param for d in written.input[0].type.tensor_type.shape.dim] == [
        *("batch", "", "height", "width")
    ]
    assert not any(d.dim_param for d in written.output[0].type.tensor_type.shape.dim)
    assert any(c.sizes["height"] != c.sizes["width"] for c in cases)
    for case in cases:
        relu = np.maximum(case.inputs["image"], 0)
        expected = 1 / (1 + np.exp(-np.concatenate([relu, relu], axis=2)))
        np.testing.assert_allclose(case.expected[0], expected, rtol=1e-5)


@pytest.mark.parametrize("axes", AXES)
def test_the_source_itself_runs_at_any_size(tmp_path: Path, axes: list[int | str]) -> None:
    path = write(tmp_path / "model.onnx", axes)
    opening = Opening(runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32, path=path, threads=1)
    with open_runner(opening) as runner:
        for shape in ((1, 3, 64, 96), (2, 3, 16, 24)):
            found = runner.run({"image": np.zeros(shape, np.float32)})["result"]
            assert found.shape == (shape[0], 3, 2 * shape[2], shape[3])


def test_names_that_change_places_tie_no_other_axes(tmp_path: Path) -> None:
    """The spec's height is the model's w, and its own height is another axis of the output."""
    path = write(tmp_path / "model.onnx", ["n", 3, "w", "h"], ["n", 3, "height", "h"])
    Onnx().to_onnx(source(path, tmp_path), tmp_path / "fp32.onnx")
    graph = onnx.load(tmp_path / "fp32.onnx").graph
    named = {
        value.name: [d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert named == {
        "image": ["batch", "", "height", "width"],
        "result": ["batch", "", "", "width"],
    }


def test_empty_weights_stay_empty(tmp_path: Path) -> None:
    """Resize of opset 11 takes an empty roi, which old exporters list as an input too."""
    path = write(tmp_path / "model.onnx", ["n", 3, "h", "w"])
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("roi", TensorProto.FLOAT, [0], []))
    model.graph.input.append(helper.make_tensor_value_info("roi", TensorProto.FLOAT, [0]))
    path.write_bytes(model.SerializeToString())
    opened = load_onnx(path)
    assert opened.graph.input[1].type.tensor_type.shape.dim[0].dim_value == 0
    assert opened.graph.input[1].type.tensor_type.shape.dim[0].HasField("dim_value")


@pytest.mark.parametrize("text", ["batch", "N", "unk__12", "2*s1", "seq-len", "DynamicDimension.0"])
def test_symbols_are_kept(text: str) -> None:
    assert names_a_size(text)


@pytest.mark.parametrize("text", ["", " ", "?", "-1", "0", "*", "None", "none", "<unk>", "Any"])
def test_words_for_any_size_are_no_symbols(text: str) -> None:
    assert not names_a_size(text)
