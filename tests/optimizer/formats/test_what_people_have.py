"""Programs, scripts and graphs of odd forms: from one file to files that two runtimes run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from whole_way import NNCF, QDQ, Made, far, initial, prepared, run

from mopt_api.enums import Precision, Runtime
from mopt_api.inputs import DimensionRange
from mopt_cli._errors import CliError
from mopt_optimizer.errors import DimensionError, ModelError
from mopt_optimizer.onnx_files.verified_inputs import verified_inputs

pytestmark = pytest.mark.optimizer

AUTO = torch.export.Dim.AUTO
CLOSE = 1e-3
X = torch.rand(2, 4)
ROWS = {0: AUTO}


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("memory", torch.zeros(3))
        self.memory: torch.Tensor


class DictIn(Linear):
    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"scores": self.layer(batch["x"]), "rest": batch["y"].relu()}


class Scratch(Linear):
    """Writes a buffer that no output depends on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.memory.add_(1)
        result: torch.Tensor = self.layer(x)
        return result


class State(Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x) + self.memory
        self.memory.copy_(result.mean(0))
        return result


class DictOut(Linear):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.layer(x)
        return {"y": y, "z": (y + 1).relu()}


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x)
        return result.mean((2, 3))


class Flat(Linear):
    """A batch of 1 is baked into its reshape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x.reshape(1, 4))
        return result


def program(module: nn.Module, example: Any, shapes: Any = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.manual_seed(0)
        exported = torch.export.export(module.eval(), example, dynamic_shapes=shapes, strict=False)
        torch.export.save(exported, folder / "model.pt2")
        return folder / "model.pt2"

    return write


def script(module: nn.Module, example: Any = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = (
                torch.jit.script(module.eval())
                if example is None
                else torch.jit.trace(module.eval(), example, strict=False)  # type: ignore[no-untyped-call]
            )
            torch.jit.save(made, folder / "model.ts")
        return folder / "model.ts"

    return write


def weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    **constants: NDArray[Any],
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        made = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, folder / "model.onnx")
        return folder / "model.onnx"

    return write


FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
ROW: tuple[int, list[Any]] = (FLOAT, ["n", 8])
_node, _value = helper.make_node, helper.make_tensor_value_info


def branches() -> Callable[[Path], Path]:
    """An If whose branches read a weight and an input from outside, and differ in shape."""
    then = helper.make_graph(
        [_node("MatMul", ["x", "w"], ["t"])], "then", [], [_value("t", FLOAT, ["n", 8])]
    )
    other = helper.make_graph(
        [_node("ReduceSum", ["x", "last"], ["e"])], "else", [], [_value("e", FLOAT, ["n", 1])]
    )
    nodes = [
        _node("ReduceMean", ["x"], ["mean"], keepdims=0),
        _node("Greater", ["mean", "half"], ["large"]),
        _node("If", ["large"], ["y"], then_branch=then, else_branch=other),
        _node("MatMul", ["x", "w"], ["z"]),
    ]
    constants = {"half": np.array(0.5, np.float32), "last": np.array([1])}
    outputs: dict[str, tuple[int, list[Any]]] = {"y": (FLOAT, ["n", "any"]), "z": ROW}
    return graph(nodes, {"x": ROW}, outputs, w=weights(8, 8), **constants)


def loop() -> Callable[[Path], Path]:
    """A Loop of three rounds that reads an input and a weight from outside."""
    body = helper.make_graph(
        [
            _node("MatMul", ["state", "w"], ["product"]),
            _node("Add", ["product", "x"], ["next"]),
            _node("Tanh", ["next"], ["seen"]),
            _node("Identity", ["on"], ["still"]),
        ],
        "body",
        [_value("round", INT64, []), _value("on", BOOL, []), _value("state", *ROW)],
        [_value("still", BOOL, []), _value("next", *ROW), _value("seen", *ROW)],
    )
    return graph(
        [_node("Loop", ["rounds", "on_", "x"], ["y", "all"], body=body)],
        {"x": ROW},
        {"y": ROW, "all": (FLOAT, [3, "n", 8])},
        rounds=np.array(3),
        on_=np.array(True),
        w=weights(8, 8),
    )


def scan() -> Callable[[Path], Path]:
    """A Scan that reads a factor from outside."""
    body = helper.make_graph(
        [
            _node("Add", ["state", "element"], ["sum"]),
            _node("Mul", ["sum", "factor"], ["next"]),
            _node("Identity", ["next"], ["seen"]),
        ],
        "body",
        [_value("state", FLOAT, ["n"]), _value("element", FLOAT, ["n"])],
        [_value("next", FLOAT, ["n"]), _value("seen", FLOAT, ["n"])],
    )
    nodes = [
        _node("Transpose", ["x"], ["columns"], perm=[1, 0]),
        _node("ReduceSum", ["x", "last"], ["first"], keepdims=0),
        _node("Scan", ["first", "columns"], ["y", "all"], body=body, num_scan_inputs=1),
    ]
    outputs: dict[str, tuple[int, list[Any]]] = {"y": (FLOAT, ["n"]), "all": (FLOAT, [8, "n"])}
    factor = np.array(0.9, np.float32)
    return graph(nodes, {"x": ROW}, outputs, factor=factor, last=np.array([1]))


def bytes_in() -> Callable[[Path], Path]:
    """A network that takes an image as uint8 and scales it itself."""
    nodes = [
        _node("Cast", ["image"], ["floats"], to=FLOAT),
        _node("Mul", ["floats", "scale"], ["scaled"]),
        _node("Conv", ["scaled", "w"], ["conv"], pads=[1] * 4),
        _node("Relu", ["conv"], ["relu"]),
        _node("ReduceMean", ["relu", "axes"], ["y"], keepdims=0),
    ]
    constants = {"scale": np.array(1 / 255, np.float32), "axes": np.array([2, 3])}
    inputs: dict[str, tuple[int, list[Any]]] = {"image": (TensorProto.UINT8, ["n", 3, "h", "w_"])}
    return graph(nodes, inputs, {"y": ROW}, w=weights(8, 3, 3, 3), **constants)


def wide() -> Callable[[Path], Path]:
    """A layer in float64 before one in float32."""
    nodes = [
        _node("MatMul", ["x", "v"], ["wide"]),
        _node("Cast", ["wide"], ["narrow"], to=FLOAT),
        _node("MatMul", ["narrow", "w"], ["y"]),
    ]
    inputs: dict[str, tuple[int, list[Any]]] = {"x": (TensorProto.DOUBLE, ["n", 8])}
    return graph(nodes, inputs, {"y": ROW}, v=weights(8, 8).astype(np.float64), w=weights(8, 8))


def labels() -> Callable[[Path], Path]:
    """A classifier whose second output is text."""
    nodes = [
        _node("MatMul", ["x", "w"], ["y"]),
        _node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
        _node(
            "LabelEncoder",
            ["best"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=list(range(8)),
            values_strings=[f"class {n}" for n in range(8)],
        ),
    ]
    return graph(
        nodes, {"x": ROW}, {"y": ROW, "label": (TensorProto.STRING, ["n"])}, w=weights(8, 8)
    )


GOOD: dict[str, Callable[[Path], Path]] = {
    "program with a dict": program(DictIn(), ({"x": X, "y": X},), ({"x": ROWS, "y": ROWS},)),
    "program that writes a buffer": program(Scratch(), (X,), (ROWS,)),
    "program with half weights": program(Half(), (torch.rand(2, 3, 16, 16).half(),), (ROWS,)),
    "script that returns a dict": script(DictOut(), (X,)),
    "script that writes a buffer": script(Scratch(), (X,)),
    "If with outer values": branches(),
    "Loop with outer values": loop(),
    "Scan with outer values": scan(),
    "image as uint8": bytes_in(),
    "float64 before float32": wide(),
}


def written(write: Callable[[Path], Path], folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write(folder)


def made(path: Path, folder: Path, forms: Sequence[Any] = ()) -> Made:
    shapes = {"x": [2, 4]} if path.suffix == ".ts" else None
    spec = initial(path, folder, shapes)
    data = folder / "data"
    data.mkdir()
    for number, one in enumerate(verified_inputs(spec.inputs, spec.every_dimension)):
        feeds: dict[str, Any] = one.inputs
        np.savez(data / f"{number}.npz", **feeds)
    return prepared(path, spec, folder / "made", forms=forms, data=data)


@pytest.mark.parametrize("name", GOOD)
def test_goes_through(name: str, tmp_path: Path) -> None:
    path = written(GOOD[name], tmp_path)
    found = made(path, tmp_path)
    source = Runtime.ONNX_RUNTIME if path.suffix == ".onnx" else Runtime.PYTORCH
    for one in verified_inputs(found.spec.inputs, found.spec.every_dimension):
        feeds = one.inputs
        expected = run(source, path, feeds)
        for runtime in (Runtime.ONNX_RUNTIME, Runtime.OPENVINO):
            assert far(run(runtime, found.fp32, feeds), expected) <= CLOSE, runtime


def test_int8_leaves_other_types_alone(tmp_path: Path) -> None:
    for name, form, runtime in (
        ("float64 before float32", QDQ, Runtime.ONNX_RUNTIME),
        ("image as uint8", NNCF, Runtime.OPENVINO),
    ):
        folder = tmp_path / form.kind
        folder.mkdir()
        path = written(GOOD[name], folder)
        found = made(path, folder, [form])
        int8 = found.form(form)
        floats = {t.name for t in onnx.load(path).graph.initializer if t.data_type == 11}
        assert floats <= {t.name for t in onnx.load(int8).graph.initializer}
        feeds = verified_inputs(found.spec.inputs, found.spec.every_dimension)[0].inputs
        expected = run(Runtime.ONNX_RUNTIME, path, feeds)
        assert far(run(runtime, int8, feeds, Precision.INT8), expected) < 0.1


def test_text_is_compared_as_it_is(tmp_path: Path) -> None:
    path = written(labels(), tmp_path)
    found = made(path, tmp_path)
    feeds = verified_inputs(found.spec.inputs, found.spec.every_dimension)[0].inputs
    (_, before), (_, after) = (
        run(Runtime.ONNX_RUNTIME, file, feeds) for file in (path, found.fp32)
    )
    assert before.dtype.kind == "U"
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("write", [program(State(), (X,), (ROWS,)), script(State(), (X,))])
def test_state_between_calls_is_refused_by_name(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="it keeps state in memory: make that an input"):
        made(written(write, tmp_path), tmp_path)


def test_random_layers_are_refused(tmp_path: Path) -> None:
    nodes = [_node("RandomNormalLike", ["x"], ["noise"]), _node("Add", ["x", "noise"], ["y"])]
    path = written(graph(nodes, {"x": ROW}, {"y": ROW}), tmp_path)
    with pytest.raises(ModelError, match="it draws random numbers"):
        made(path, tmp_path)


def test_a_script_that_takes_a_dict_is_refused_by_name(tmp_path: Path) -> None:
    path = written(script(DictIn()), tmp_path)
    with pytest.raises(ModelError, match=r"input batch is a Dict\[str, Tensor\].*trace a module"):
        initial(path, tmp_path)


def test_text_as_an_input_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [_node("Cast", ["words"], ["y"], to=FLOAT)]
    text: dict[str, tuple[int, list[Any]]] = {"words": (TensorProto.STRING, ["n"])}
    path = written(graph(nodes, text, {"y": (FLOAT, ["n"])}), tmp_path)
    with pytest.raises(CliError, match=r"input words takes text \(string\).*cut off"):
        initial(path, tmp_path)


def test_a_batch_of_one_is_said_with_its_remedy(tmp_path: Path) -> None:
    path = written(program(Flat(), (torch.rand(1, 4),)), tmp_path)
    spec = initial(path, tmp_path)
    assert spec.inputs[0].shape == [1, 4]
    free = spec.model_copy(
        update={
            "inputs": [spec.inputs[0].model_copy(update={"shape": ["batch", 4]})],
            "dimensions": {"batch": DimensionRange(min=1, opt=1, max=8)},
        }
    )
    with pytest.raises(DimensionError, match="dynamic, from an example with 2 or more there"):
        prepared(path, free, tmp_path / "made")


def test_a_batch_of_one_in_the_graph_is_found(tmp_path: Path) -> None:
    nodes = [_node("Reshape", ["x", "shape"], ["row"]), _node("MatMul", ["row", "w"], ["y"])]
    write = graph(
        nodes, {"x": ROW}, {"y": (FLOAT, [1, 8])}, shape=np.array([1, 8]), w=weights(8, 8)
    )
    spec = initial(written(write, tmp_path), tmp_path)
    assert spec.dimensions["n"].max == 1
