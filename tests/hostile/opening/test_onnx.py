"""Hostile ONNX files: what expands without end, lies about its size, or is damaged."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx import helper as h

from mopt_api.reasons import Reason
from mopt_optimizer.opening.loading import load_onnx, onnx_file, open_onnx
from mopt_optimizer.opening.safety import is_tar, protobuf

from .conftest import outcome

pytestmark = pytest.mark.optimizer

UNSAFE, INVALID = Reason.UNSAFE_MODEL, Reason.INVALID_MODEL
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
OPSETS = [h.make_opsetid("", 18), h.make_opsetid("own", 1)]


def tensor(name: str, *values: int | bool) -> TensorProto:
    """Return whole numbers: one as a scalar, several as a vector."""
    array = np.array(values[0] if len(values) == 1 else values)
    return onnx.numpy_helper.from_array(array, name)


def value(name: str, kind: int = FLOAT, shape: Sequence[int] | None = (2,)) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, kind, shape)


def model(
    *nodes: NodeProto,
    constants: Sequence[TensorProto] = (),
    functions: Sequence[FunctionProto] = (),
    result: str = "y",
) -> ModelProto:
    graph = h.make_graph(list(nodes), "g", [value("x")], [value(result)], list(constants))
    return h.make_model(graph, opset_imports=OPSETS, functions=list(functions), ir_version=9)


def relu(given: str = "x", made: str = "y") -> NodeProto:
    return h.make_node("Relu", [given], [made])


def reason_of(content: ModelProto | bytes, tmp_path: Path) -> Reason | None:
    path = tmp_path / "hostile.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    error = outcome(lambda: load_onnx(path))
    return error.reason if error else None


def test_model_as_it_is_opens(tmp_path: Path) -> None:
    assert reason_of(model(relu()), tmp_path) is None


def function(name: str, *nodes: NodeProto) -> FunctionProto:
    return h.make_function("own", name, ["x"], ["y"], list(nodes), OPSETS)


def calling(name: str, given: str, made: str) -> NodeProto:
    return h.make_node(name, [given], [made], domain="own")


def chain(levels: int, calls: int) -> list[FunctionProto]:
    """Return functions each of which calls the one before several times."""
    found = [function("f0", relu())]
    for level in range(1, levels):
        names = ["x", *(f"v{number}" for number in range(calls - 1)), "y"]
        nodes = [calling(f"f{level - 1}", given, made) for given, made in itertools.pairwise(names)]
        found.append(function(f"f{level}", *nodes))
    return found


@pytest.mark.parametrize(("levels", "calls"), [(30, 2), (10, 10), (100, 9), (3000, 2), (6, 100)])
def test_functions_that_expand_without_end(tmp_path: Path, levels: int, calls: int) -> None:
    functions = chain(levels, calls)
    hostile = model(calling(f"f{levels - 1}", "x", "y"), functions=functions)
    assert reason_of(hostile, tmp_path) is INVALID


def test_functions_that_expand_a_little_are_taken(tmp_path: Path) -> None:
    assert reason_of(model(calling("f3", "x", "y"), functions=chain(4, 3)), tmp_path) is None


@pytest.mark.parametrize("length", [1, 2, 50])
def test_functions_that_call_each_other(tmp_path: Path, length: int) -> None:
    functions = [
        function(f"f{number}", calling(f"f{(number + 1) % length}", "x", "y"))
        for number in range(length)
    ]
    assert reason_of(model(calling("f0", "x", "y"), functions=functions), tmp_path) is INVALID


def test_functions_that_expand_within_branches(tmp_path: Path) -> None:
    functions = [function("f0", relu())]
    for level in range(1, 40):
        branches = {
            side: h.make_graph([calling(f"f{level - 1}", "x", side)], side, [], [value(side)])
            for side in ("then_branch", "else_branch")
        }
        condition = h.make_node("Constant", [], ["c"], value=tensor("c", True))
        functions.append(
            function(f"f{level}", condition, h.make_node("If", ["c"], ["y"], **branches))
        )
    assert reason_of(model(calling("f39", "x", "y"), functions=functions), tmp_path) is INVALID


Body = Callable[[], list[NodeProto]]


def loop(
    trips: str,
    condition: str,
    *body: NodeProto,
    goes_on: str = "c",
    constants: Sequence[TensorProto] = (),
) -> NodeProto:
    inner = h.make_graph(
        list(body) or [relu("v", "w")],
        "body",
        [value("i", INT64, ()), value("c", BOOL, ()), value("v")],
        [value(goes_on, BOOL, ()), value("w")],
        list(constants),
    )
    return h.make_node("Loop", [trips, condition, "x"], ["y"], body=inner)


TRUE = h.make_node("Constant", [], ["t"], value=tensor("t", True))
COPIED = h.make_node("Identity", ["m"], ["n"])
PASSED = h.make_node("Identity", ["c"], ["d"])
LESS = h.make_node("Less", ["i", "ten"], ["d"])


def loops() -> dict[str, tuple[ModelProto, Reason | None]]:
    huge, few = tensor("n", 2**63 - 1), tensor("n", 10)
    true, false, always = tensor("go", True), tensor("go", False), tensor("t", True)
    step = relu("v", "w")
    nested = loop("n", "", loop("m", "", step), step)
    deep = loop("n", "", step)
    for _ in range(20):
        deep = loop("n", "", deep, step)
    return {
        "ten trips": (model(loop("n", ""), constants=[few]), None),
        "2**63 trips": (model(loop("n", ""), constants=[huge]), INVALID),
        "2**63 trips by a node": (
            model(h.make_node("Constant", [], ["n"], value_int=2**63 - 1), loop("n", "")),
            INVALID,
        ),
        "2**63 trips by a copy": (
            model(
                h.make_node("Identity", ["m"], ["n"]), loop("n", ""), constants=[tensor("m", 2**62)]
            ),
            INVALID,
        ),
        "2**63 trips, and true": (model(loop("n", "go"), constants=[huge, true]), INVALID),
        "2**63 trips, and true within": (
            model(loop("n", "go", TRUE, step, goes_on="t"), constants=[huge, true]),
            INVALID,
        ),
        "2**63 trips, and passed on": (
            model(loop("n", "go", PASSED, step, goes_on="d"), constants=[huge, true]),
            INVALID,
        ),
        "2**63 trips, and true by a weight": (
            model(loop("n", "", step, goes_on="t", constants=[always]), constants=[huge]),
            INVALID,
        ),
        # As exporters write "while": the condition is computed.
        "as long as it is so": (
            model(
                loop("n", "go", LESS, step, goes_on="d"),
                constants=[huge, true, tensor("ten", 10)],
            ),
            None,
        ),
        "never": (model(loop("n", "go"), constants=[huge, false]), None),
        "no number of trips": (model(loop("", "")), INVALID),
        "no number of trips, and true": (model(loop("", "go"), constants=[true]), INVALID),
        "loops in loops": (
            model(nested, constants=[tensor("n", 10**5), tensor("m", 10**5)]),
            INVALID,
        ),
        "twenty loops in loops": (model(deep, constants=[huge]), INVALID),
        "a hundred million nodes": (model(loop("n", ""), constants=[tensor("n", 10**8)]), INVALID),
    }


@pytest.mark.parametrize("name", loops())
def test_loop(tmp_path: Path, name: str) -> None:
    hostile, expected = loops()[name]
    assert reason_of(hostile, tmp_path) is expected


def constant(kind: str, *sizes: int) -> ModelProto:
    made = h.make_node(kind, ["s"] if kind == "ConstantOfShape" else ["x", "s"], ["y"])
    return model(made, constants=[onnx.numpy_helper.from_array(np.array(sizes), "s")])


def sizes() -> dict[str, tuple[ModelProto, Reason | None]]:
    numbers = {"a": 0, "b": 2**60, "d": 1}
    scalars = [tensor(name, number) for name, number in numbers.items()]
    ranged = h.make_node("Range", ["a", "b", "d"], ["y"])
    shape = [2**20, 2**20]
    return {
        "zeros": (constant("ConstantOfShape", 2, 3), None),
        "2**40 zeros": (constant("ConstantOfShape", 2**20, 2**20), INVALID),
        "2**3600 zeros": (constant("ConstantOfShape", *[2**60] * 60), INVALID),
        "an expanded value": (constant("Expand", 2**20, 2**20), INVALID),
        "a repeated value": (constant("Tile", 2**40), INVALID),
        "a range": (
            model(ranged, constants=scalars),
            INVALID,
        ),
        "noise": (model(h.make_node("RandomNormal", [], ["y"], shape=shape)), INVALID),
        "even noise": (model(h.make_node("RandomUniform", [], ["y"], shape=shape)), INVALID),
    }


@pytest.mark.parametrize("name", sizes())
def test_tensor_of_a_constant_size(tmp_path: Path, name: str) -> None:
    hostile, expected = sizes()[name]
    assert reason_of(hostile, tmp_path) is expected


def field(number: int, content: bytes) -> bytes:
    """Return one field of a protobuf message."""
    length, count = b"", len(content)
    while True:
        length += bytes([count & 0x7F | (0x80 if count > 0x7F else 0)])
        count >>= 7
        if not count:
            return bytes([number << 3 | 2]) + length + content


HEADER = ModelProto(ir_version=9, opset_import=OPSETS).SerializeToString()


def test_million_nodes(tmp_path: Path) -> None:
    nodes = field(1, relu().SerializeToString()) * 1_000_000
    assert reason_of(HEADER + field(7, nodes), tmp_path) is INVALID


BOMBS = {
    # Each of two bytes: some hundred in memory.
    "nodes": field(7, b"\x0a\x00" * 400_000),
    "weights": field(7, b"\x2a\x00" * 400_000),
    "inputs of a node": field(7, field(1, b"\x0a\x00" * 400_000)),
    "attributes of a node": field(7, field(1, b"\x2a\x00" * 400_000)),
    "values of an attribute": field(7, field(1, field(5, b"\x40\x01" * 400_000))),
    "texts of an attribute": field(7, field(1, field(5, b"\x4a\x00" * 400_000))),
    "sizes of a weight": field(7, field(5, b"\x08\x01" * 400_000)),
    "notes": b"\x72\x00" * 400_000,
    "functions": b"\xca\x01\x00" * 400_000,
    "graphs in graphs": None,
    "a message that ends early": b"\x3a\xff\xff\xff\xff\x07\x00",
    "a number that never ends": b"\x38" + b"\xff" * 100,
    "groups": b"\x3b" * 1000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_file_of_many_messages(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # To reach the whole limit takes seconds.
    monkeypatch.setattr(protobuf, "MAX_MESSAGES", 300_000)
    content = BOMBS[name]
    if content is None:
        content = b""
        for _ in range(200):
            content = field(7 if len(content) == 0 else 1, field(5, field(6, content)))
        content = field(7, content)
    assert reason_of(HEADER + content, tmp_path) is INVALID


def changed(change: Callable[[ModelProto], object]) -> ModelProto:
    found = model(
        h.make_node("Add", ["x", "w"], ["y"], name="add"),
        constants=[onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")],
    )
    change(found)
    return found


def sparse(found: ModelProto) -> None:
    entry = found.graph.sparse_initializer.add()
    entry.dims.extend([2**30, 2**30])
    entry.values.CopyFrom(tensor("s", 1))
    entry.indices.CopyFrom(tensor("i", 0))


def external(location: str, **entries: object) -> Callable[[ModelProto], None]:
    def change(found: ModelProto) -> None:
        weight = found.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, item in {"location": location, **entries}.items():
            weight.external_data.add(key=key, value=str(item))

    return change


def training(found: ModelProto) -> None:
    part = found.training_info.add()
    part.algorithm.node.append(h.make_node("Evil", [], ["z"], domain="evil"))


def weights_of_a_function(found: ModelProto) -> None:
    part = function("f", relu())
    part.attribute_proto.append(
        AttributeProto(name="a", type=AttributeProto.TENSOR, t=TensorProto(data_type=99))
    )
    found.functions.append(part)


DAMAGED: dict[str, Callable[[ModelProto], object]] = {
    "no graph": lambda m: m.ClearField("graph"),
    "no opset": lambda m: m.ClearField("opset_import"),
    "no node": lambda m: m.graph.ClearField("node"),
    "an opset of the future": lambda m: m.opset_import[0].__setattr__("version", 999),
    "an opset before all": lambda m: m.opset_import[0].__setattr__("version", -1),
    "a version of the future": lambda m: m.__setattr__("ir_version", 2**62),
    "no version": lambda m: m.ClearField("ir_version"),
    "an unknown operator": lambda m: m.graph.node[0].__setattr__("op_type", "Evil"),
    "an operator without a name": lambda m: m.graph.node[0].ClearField("op_type"),
    "an unknown domain": lambda m: m.graph.node[0].__setattr__("domain", "evil"),
    "an unknown domain that trains": training,
    "a name of a gigabyte's length": lambda m: m.graph.node[0].__setattr__("op_type", "E" * 2**20),
    "too few inputs": lambda m: m.graph.node[0].input.pop(),
    "too many outputs": lambda m: m.graph.node[0].output.append("z"),
    "an input from nowhere": lambda m: m.graph.node[0].input.__setitem__(0, "nowhere"),
    "an output from nowhere": lambda m: m.graph.output[0].__setattr__("name", "nowhere"),
    "a result twice": lambda m: m.graph.node.append(m.graph.node[0]),
    "a circle": lambda m: m.graph.node[0].input.__setitem__(0, "y"),
    "an unknown attribute": lambda m: m.graph.node[0].attribute.append(h.make_attribute("e", 1)),
    "an attribute without a type": lambda m: m.graph.node[0].attribute.append(
        AttributeProto(name="a")
    ),
    "an unknown element type": lambda m: m.graph.initializer[0].__setattr__("data_type", 99),
    "an unknown type of an input": lambda m: m.graph.input[0].type.tensor_type.__setattr__(
        "elem_type", 99
    ),
    "an unknown type in a function": weights_of_a_function,
    "2**60 values": lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**60),
    "2**120 values": lambda m: m.graph.initializer[0].dims.extend([2**60, 2**60]),
    "a negative size": lambda m: m.graph.initializer[0].dims.__setitem__(0, -2),
    "two negative sizes": lambda m: m.graph.initializer[0].dims.extend([-2, -1]),
    "a thousand axes": lambda m: m.graph.initializer[0].dims.extend([2] * 1000),
    "no bytes": lambda m: m.graph.initializer[0].ClearField("raw_data"),
    "a byte more": lambda m: m.graph.initializer[0].__setattr__("raw_data", bytes(9)),
    "a byte less": lambda m: m.graph.initializer[0].__setattr__("raw_data", bytes(7)),
    "a sparse weight": sparse,
    "an If without branches": lambda m: m.graph.node.append(h.make_node("If", ["x"], ["z"])),
    "a Loop without a body": lambda m: m.graph.node.append(h.make_node("Loop", ["x"], ["z"])),
    "a Loop without inputs": lambda m: m.graph.node.append(
        h.make_node("Loop", [], ["z"], body=GraphProto(name="b"))
    ),
    "a weight elsewhere": external("data.bin"),
    "a weight at no place": external(""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_model(tmp_path: Path, name: str) -> None:
    assert reason_of(changed(DAMAGED[name]), tmp_path) is INVALID


PLACES: dict[str, tuple[Callable[[ModelProto], None], Reason | None]] = {
    "beside it": (external("data.bin", length=8), None),
    "an absolute path": (external("/etc/passwd"), UNSAFE),
    "a folder up": (external("../data.bin"), UNSAFE),
    "a folder up within": (external("a/../../data.bin"), UNSAFE),
    "a backslash": (external("..\\data.bin"), UNSAFE),
    "a drive": (external("C:\\data.bin"), UNSAFE),
    "a link": (external("link.bin", length=8), UNSAFE),
    "a folder that is a link": (external("links/data.bin"), UNSAFE),
    "a zero byte": (external("data.bin\0x"), INVALID),
    "a missing file": (external("nothing.bin"), INVALID),
    "a folder": (external("."), INVALID),
    "an offset behind the end": (external("data.bin", offset=2**40), INVALID),
    "a negative offset": (external("data.bin", offset=-8), INVALID),
    "an offset that is no number": (external("data.bin", offset="x"), INVALID),
    "a length behind the end": (external("data.bin", length=2**62), INVALID),
    "an offset of 5,000 digits": (external("data.bin", offset="9" * 5000), INVALID),
}


@pytest.mark.parametrize("name", PLACES)
def test_weight_in_another_file(tmp_path: Path, name: str) -> None:
    change, expected = PLACES[name]
    (tmp_path / "data.bin").write_bytes(bytes(8))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    (tmp_path / "links").symlink_to(tmp_path)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(changed(change).SerializeToString())
    error = outcome(lambda: open_onnx(path))
    assert (error.reason if error else None) is expected


@pytest.mark.parametrize("suffix", [".json", ".textproto", ".onnxtxt", ".onnxjson"])
def test_name_does_not_choose_the_reader(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b'{"graph": ' * 10)
    error = outcome(lambda: load_onnx(path))
    assert error is not None
    assert error.reason is INVALID


def packed(count: int, change: Callable[[tarfile.TarInfo], object]) -> bytes:
    """Return a tar of headers alone."""
    found = b""
    for number in range(count):
        header = tarfile.TarInfo(f"{number}.onnx")
        change(header)
        found += header.tobuf(tarfile.GNU_FORMAT)
    return found + bytes(1024)


TARS: dict[str, tuple[bytes, Reason]] = {
    "two thousand files": (packed(2000, lambda _: None), INVALID),
    "two models": (packed(2, lambda _: None), INVALID),
    "a file of 2**60 bytes": (packed(1, lambda h: h.__setattr__("size", 2**60)), INVALID),
    "a file of -1 bytes": (packed(1, lambda h: h.__setattr__("size", -1)), INVALID),
    "a link": (packed(1, lambda h: h.__setattr__("type", tarfile.SYMTYPE)), UNSAFE),
    "a device": (packed(1, lambda h: h.__setattr__("type", tarfile.CHRTYPE)), UNSAFE),
    "a folder up": (packed(1, lambda h: h.__setattr__("name", "../x.onnx")), UNSAFE),
    "a control character": (packed(1, lambda h: h.__setattr__("name", "\x1b[2J.onnx")), UNSAFE),
    "headers of headers": (
        packed(1, lambda _: None)[:512] + packed(5000, lambda h: h.__setattr__("type", b"x")),
        INVALID,
    ),
}


@pytest.mark.parametrize("name", TARS)
def test_archive_of_files(tmp_path: Path, name: str) -> None:
    content, expected = TARS[name]
    path = tmp_path / "hostile.tar"
    path.write_bytes(content)
    assert is_tar(path)
    error = outcome(lambda: onnx_file(path, tmp_path / "to"))
    assert error is not None
    assert error.reason is expected


OTHERS = {
    "empty": b"",
    "zeros": bytes(1000),
    "text": b"not a model" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a zip archive": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x02cos\nsystem\n.",
    "a program": b"\x7fELF" + bytes(100),
    "ones": b"\xff" * 1000,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_file(tmp_path: Path, name: str) -> None:
    # Only what is a pickle could have run something.
    assert reason_of(OTHERS[name], tmp_path) is (UNSAFE if name == "a pickle" else INVALID)


@pytest.mark.parametrize("number", range(60))
def test_model_with_one_changed_byte(tmp_path: Path, number: int) -> None:
    """It opens, or says why not."""
    content = bytearray(changed(lambda _: None).SerializeToString())
    content[number * len(content) // 60] ^= 1 << number % 8
    assert reason_of(bytes(content), tmp_path) in (UNSAFE, INVALID, None)


@pytest.mark.parametrize("number", range(20))
def test_model_that_is_cut_off(tmp_path: Path, number: int) -> None:
    content = changed(lambda _: None).SerializeToString()
    assert reason_of(content[: number * len(content) // 20], tmp_path) in (INVALID, None)
