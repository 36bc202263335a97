"""The digest of a graph: equal for two trainings of one architecture, and for nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mopt_optimizer.onnx_files.fingerprint import graph_digest

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.optimizer


def exported(path: Path, *, seed: int, width: int = 16, kernel: int = 3, scale: int = 2) -> str:
    """Return the digest of a network that torch exported."""
    import torch
    from torch import nn

    class Upscaler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, width, kernel, padding=kernel // 2),
                nn.BatchNorm2d(width),
                nn.PReLU(width),
                nn.Conv2d(width, 3, 3, padding=1),
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = nn.functional.interpolate(
                image + self.body(image), scale_factor=float(scale), mode="nearest"
            )
            return found

    torch.manual_seed(seed)
    network = Upscaler().eval()
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            network, (torch.rand(2, 3, 16, 20),), dynamic_shapes=({0: dynamic, 2: dynamic},)
        )
        torch.onnx.export(program, dynamo=True, input_names=["image"], verbose=False).save(path)  # type: ignore[union-attr]
    return graph_digest(path)


def test_trainings_of_one_architecture_have_one_digest(tmp_path: Path) -> None:
    digests = {exported(tmp_path / f"{seed}.onnx", seed=seed) for seed in range(3)}
    assert len(digests) == 1
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 3


@pytest.mark.parametrize("other", [{"width": 24}, {"kernel": 5}, {"scale": 3}], ids=str)
def test_another_architecture_has_another_digest(tmp_path: Path, other: dict[str, int]) -> None:
    assert exported(tmp_path / "a.onnx", seed=0) != exported(tmp_path / "b.onnx", seed=0, **other)


Change = Callable[[onnx.ModelProto], None]


def shaped(path: Path, change: Change = lambda _model: None) -> str:
    """Return the digest of a small graph with a weight, a shape and a subgraph, changed."""
    branch = helper.make_graph(
        [helper.make_node("Mul", ["flat", "gain"], ["branch"], name="mul")],
        "then",
        [],
        [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([2], np.float32), "gain")],
    )
    other = helper.make_graph(
        [helper.make_node("Relu", ["flat"], ["other"], name="relu")],
        "else",
        [],
        [helper.make_tensor_value_info("other", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        helper.make_node("Reshape", ["y", "shape"], ["flat"], name="reshape", allowzero=0),
        helper.make_node("If", ["which"], ["z"], name="if", then_branch=branch, else_branch=other),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("which", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.array([-1, 3], np.int64), "shape"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    change(model)
    onnx.save(model, path)
    return graph_digest(path)


def then_branch(model: onnx.ModelProto) -> onnx.GraphProto:
    (found,) = (a for a in model.graph.node[2].attribute if a.name == "then_branch")
    branch: onnx.GraphProto = found.g
    return branch


def renamed(model: onnx.ModelProto) -> None:
    for index, node in enumerate(model.graph.node):
        node.name = f"node {index}"
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "inside"
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "weight"
    model.graph.doc_string = "of this week"


def other_weight(model: onnx.ModelProto) -> None:
    weight = numpy_helper.from_array(np.ones((4, 6), np.float32), "w")
    model.graph.initializer[0].CopyFrom(weight)
    then_branch(model).initializer[0].CopyFrom(
        numpy_helper.from_array(np.array([9], np.float32), "gain")
    )


@pytest.mark.parametrize("change", [renamed, other_weight])
def test_names_and_weights_do_not_matter(tmp_path: Path, change: Change) -> None:
    assert shaped(tmp_path / "a.onnx") == shaped(tmp_path / "b.onnx", change)


def other_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.array([-1, 2], np.int64), "shape")
    )


def other_branch(model: onnx.ModelProto) -> None:
    then_branch(model).node[0].op_type = "Add"


def other_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute[0].i = 1


def other_wire(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "x"


def other_type(model: onnx.ModelProto) -> None:
    weight = numpy_helper.from_array(np.ones((4, 6), np.float16), "w")
    model.graph.initializer[0].CopyFrom(weight)


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "image"


def other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 19


@pytest.mark.parametrize(
    "change",
    [
        other_shape,
        other_branch,
        other_attribute,
        other_wire,
        other_type,
        other_input,
        other_opset,
    ],
)
def test_structure_matters(tmp_path: Path, change: Change) -> None:
    assert shaped(tmp_path / "a.onnx") != shaped(tmp_path / "b.onnx", change)
