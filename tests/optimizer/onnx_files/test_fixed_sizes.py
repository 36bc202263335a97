"""Sizes of which the spec has one only, where a model leaves them open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mopt_api.enums import ModelFormat
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.plan import PlannedModel
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.onnx_files.fixed_sizes import fix_sizes
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.stages.prepare.messages import FP32_FILE, PrepareAnswer, PrepareRequest
from mopt_optimizer.stages.prepare.worker import handle

pytestmark = pytest.mark.optimizer

Size = int | str | None
SEVERAL = DimensionRange(min=1, opt=2, max=4)


def value(name: str, *shape: Size) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(
    inputs: list[onnx.ValueInfoProto],
    nodes: list[onnx.NodeProto],
    output: onnx.ValueInfoProto,
    inner: tuple[onnx.ValueInfoProto, ...] = (),
) -> onnx.ModelProto:
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "g", inputs, [output], [axis], value_info=inner)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def axes(found: onnx.ValueInfoProto) -> list[Size]:
    return [
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None
        for axis in found.type.tensor_type.shape.dim
    ]


def flattened() -> onnx.ModelProto:
    """Return Relu of an input as one row per batch, by arithmetic on its shape."""
    return model(
        [value("x", "n", 3, "h")],
        [
            helper.make_node("Shape", ["x"], ["n_only"], start=0, end=1),
            helper.make_node("Neg", ["axis"], ["rest"]),
            helper.make_node("Concat", ["n_only", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["flat"]),
            helper.make_node("Relu", ["flat"], ["y"]),
        ],
        value("y", "n", "3*h"),
        (value("flat", "n", "3*h"),),
    )


def counted() -> onnx.ModelProto:
    """Return x times how many values are not 0; the file calls that number n as well."""
    count = helper.make_tensor_value_info("where", TensorProto.INT64, [1, "n"])
    return model(
        [value("x", "n")],
        [
            helper.make_node("NonZero", ["x"], ["where"]),
            helper.make_node("Shape", ["where"], ["found"], start=1),
            helper.make_node("Cast", ["found"], ["count"], to=TensorProto.FLOAT),
            helper.make_node("Relu", ["x"], ["positive"]),
            helper.make_node("Mul", ["positive", "count"], ["y"]),
        ],
        value("y", "n"),
        (count,),
    )


def squeezed() -> onnx.ModelProto:
    """Return x without its first axis if that has one element, as exporters write squeeze(0)."""
    then = [helper.make_node("Squeeze", ["x", "zero"], ["less"])]
    other = [helper.make_node("Identity", ["x"], ["same"])]
    found = model(
        [value("x", "n", 3)],
        [
            helper.make_node("Shape", ["x"], ["size"], start=0, end=1),
            helper.make_node("Equal", ["size", "axis"], ["single"]),
            helper.make_node(
                "If",
                ["single"],
                ["kept"],
                then_branch=helper.make_graph(then, "then", [], [value("less", None)]),
                else_branch=helper.make_graph(other, "else", [], [value("same", None, None)]),
            ),
            helper.make_node("Relu", ["kept"], ["y"]),
        ],
        value("y", None, None),
    )
    found.graph.initializer.append(helper.make_tensor("zero", TensorProto.INT64, [1], [0]))
    return found


def test_only_what_is_open_is_fixed() -> None:
    found = flattened()
    assert fix_sizes(found, [InputSpec(name="x", shape=[2, 3, "height"])], {"height": SEVERAL})
    graph = found.graph
    assert axes(graph.input[0]) == [2, 3, "h"]
    assert axes(graph.output[0]) == axes(graph.value_info[0]) == [None, "3*h"]


def test_arithmetic_on_a_size_is_inferred_anew() -> None:
    found = flattened()
    assert fix_sizes(found, [InputSpec(name="x", shape=["batch", 3, 8])], {"batch": SEVERAL})
    assert axes(found.graph.input[0]) == ["n", 3, 8]
    assert axes(found.graph.output[0]) == ["n", None]


def test_a_range_of_one_size_is_that_size() -> None:
    found = flattened()
    one = {"batch": DimensionRange(min=2, opt=2, max=2), "height": SEVERAL}
    assert fix_sizes(found, [InputSpec(name="x", shape=["batch", 3, "height"])], one)
    assert axes(found.graph.input[0]) == [2, 3, "h"]


@pytest.mark.parametrize(
    ("shape", "declared", "dimensions"),
    [
        (("n", 3), ["batch", 3], {"batch": SEVERAL}),
        ((2, 3), [2, 3], {}),
        # Tied to a size of another input, which stays open.
        (("batch", 3), [2, 3], {"batch": SEVERAL}),
    ],
)
def test_nothing_is_changed(
    shape: tuple[Size, ...], declared: list[int | str], dimensions: dict[str, DimensionRange]
) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    found = model([value("x", *shape)], [relu], value("y", *shape))
    before = found.SerializeToString()
    assert not fix_sizes(found, [InputSpec(name="x", shape=declared)], dimensions)
    assert found.SerializeToString() == before


def exported(
    source: onnx.ModelProto,
    inputs: list[InputSpec],
    folder: Path,
    **dimensions: DimensionRange,
) -> Path:
    """Return the FP32 file that a Job makes of a model."""
    path = folder / "source.onnx"
    onnx.save(source, path)
    return made(path, ModelFormat.ONNX, inputs, folder, **dimensions)


def made(
    path: Path,
    model_format: ModelFormat,
    inputs: list[InputSpec],
    folder: Path,
    **dimensions: DimensionRange,
) -> Path:
    """Return the FP32 file that a Job makes of a file."""
    workdir = folder / "work"
    workdir.mkdir()
    request = PrepareRequest(
        model=PlannedModel(uri="s3://models/x", sha256="0" * 64, format=model_format),
        path=str(path),
        export=True,
        inputs=inputs,
        dimensions=dimensions,
        forms=[],
        quality=[],
    )
    answer = PrepareAnswer.model_validate(handle(request.to_api(), workdir, _quiet))
    assert answer.exported
    assert all(one.passed for one in answer.exported.verifications)
    return workdir / FP32_FILE


def _quiet(*_: Any, **__: Any) -> None:
    """Log nothing."""


def test_arithmetic_on_fixed_sizes_is_gone_from_what_is_served(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    path = exported(
        flattened(),
        [InputSpec(name="x", shape=["batch", 3, "height"])],
        tmp_path / "open",
        batch=DimensionRange(min=1, opt=2, max=4),
        height=DimensionRange(min=4, opt=8, max=16),
    )
    assert "Shape" in {node.op_type for node in onnx.load(path).graph.node}
    path = exported(flattened(), [InputSpec(name="x", shape=[2, 3, 8])], tmp_path)
    found = onnx.load(path)
    assert axes(found.graph.input[0]) == [2, 3, 8]
    assert [node.op_type for node in found.graph.node] == ["Reshape", "Relu"]


def test_program_that_was_exported_for_any_size_is_fixed_too(tmp_path: Path) -> None:
    import torch

    class Rows(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x.reshape(x.shape[0] * x.shape[1], 4))

    sizes = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(Rows(), (torch.ones(2, 5, 4),), dynamic_shapes=sizes)
    torch.export.save(program, tmp_path / "rows.pt2")
    inputs = [InputSpec(name="x", shape=[2, 3, 4])]
    path = made(tmp_path / "rows.pt2", ModelFormat.EXPORTED_PROGRAM, inputs, tmp_path)
    found = onnx.load(path)
    assert axes(found.graph.input[0]) == [2, 3, 4]
    assert [node.op_type for node in found.graph.node] == ["Reshape", "Relu"]


def test_number_of_values_that_the_file_calls_a_size_is_counted(tmp_path: Path) -> None:
    path = exported(counted(), [InputSpec(name="x", shape=[4])], tmp_path)
    assert axes(onnx.load(path).graph.input[0]) == [4]
    x = np.array([0, 1, 2, 0], np.float32)
    (y,) = OnnxSession(path).run({"x": x})
    np.testing.assert_array_equal(y, 2 * x)


def test_branch_that_is_wrong_for_a_size_keeps_it_open(tmp_path: Path) -> None:
    fixed = squeezed()
    assert fix_sizes(fixed, [InputSpec(name="x", shape=[2, 3])], {})
    with pytest.raises(RuntimeFailure, match="must be 1"):
        OnnxSession(fixed.SerializeToString())
    path = exported(squeezed(), [InputSpec(name="x", shape=[2, 3])], tmp_path)
    x = np.ones((2, 3), np.float32)
    (y,) = OnnxSession(path).run({"x": x})
    np.testing.assert_array_equal(y, x)
