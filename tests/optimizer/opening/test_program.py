"""The program's JSON: every string that torch evaluates, resolves or pastes into code."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.opening.model_inputs import program_inputs
from mopt_optimizer.opening.safety import program as program_rules
from mopt_optimizer.opening.safety.operators import check_operator
from mopt_optimizer.opening.safety.program import check_program
from mopt_optimizer.opening.safety.trees import check_tree_spec

if TYPE_CHECKING:
    from .conftest import Tamper

pytestmark = pytest.mark.optimizer

Program = dict[str, Any]


def _graph(program: Program) -> Program:
    graph: Program = program["graph_module"]["graph"]
    return graph


def _first_node(program: Program) -> Program:
    node: Program = _graph(program)["nodes"][0]
    return node


def _signature(program: Program) -> Program:
    signature: Program = program["graph_module"]["module_call_graph"][0]["signature"]
    return signature


def _symbol(program: Program) -> Program:
    """Return the first symbolic size in the program: {"expr_str": ...}."""
    for meta in _graph(program)["tensor_values"].values():
        for size in meta["sizes"]:
            if "as_expr" in size:
                expression: Program = size["as_expr"]
                return expression
    raise AssertionError("the model has no dynamic size")


def _expression(code: str) -> Callable[[Program], None]:
    return lambda program: _symbol(program).update(expr_str=code)


def _guard(code: str) -> Callable[[Program], None]:
    return lambda program: program.update(guards_code=[code])


def _target(target: str, **inputs: str) -> Callable[[Program], None]:
    def edit(program: Program) -> None:
        arguments = [
            {"name": key, "arg": {"as_string": value}, "kind": 1} for key, value in inputs.items()
        ]
        _first_node(program).update(target=target, inputs=arguments)

    return edit


def _renamed(old: str, name: str) -> Callable[[Program], None]:
    """Give an input or node another name, wherever the program says the old one."""

    def edit(program: Program) -> None:
        text = json.dumps(program).replace(json.dumps(old), json.dumps(name))
        program.clear()
        program.update(json.loads(text))

    return edit


def _tree(kind: str, context: object) -> Callable[[Program], None]:
    spec = json.dumps([1, {"type": kind, "context": context, "children_spec": []}])
    return lambda program: _signature(program).update(out_spec=spec)


CREATE = "__import__('pathlib').Path({path!r}).touch()"

ATTACKS: dict[str, Callable[[str], Callable[[Program], None]]] = {
    "expression": lambda path: _expression(CREATE.format(path=path)),
    "expression in a call": lambda path: _expression(f"Max({CREATE.format(path=path)}, 1)"),
    "guard": lambda path: _guard(CREATE.format(path=path) + " is None"),
    "guard by a name": lambda path: _guard(f"open({path!r}, 'w') is not None"),
    "operator of torch's modules": lambda path: _target("torch.os.mknod", path=path),
    "operator by operator": lambda path: _target("_operator.methodcaller", name=path),
    "node name": lambda path: _renamed("conv2d", f"x = {CREATE.format(path=path)}; conv2d"),
    "input name": lambda path: _renamed("image", f"image=({CREATE.format(path=path)})"),
    "argument name": lambda path: (
        lambda program: _signature(program).update(
            forward_arg_names=[f"image=({CREATE.format(path=path)})"]
        )
    ),
    "tree that imports": lambda _: _tree(
        "collections.defaultdict",
        json.dumps(
            {
                "default_factory_module": "antigravity",
                "default_factory_name": "x",
                "dict_context": [],
            }
        ),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_the_program_is_refused_and_does_not_run(
    tamper: Tamper, witness: Path, tmp_path: Path, attack: str
) -> None:
    path = tamper(edit=ATTACKS[attack](str(witness)))
    with pytest.raises(UnsafeModelError):
        load_exported_program(path, tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("attack", ["expression", "guard", "input name"])
def test_torch_itself_would_run_it(tamper: Tamper, witness: Path, attack: str) -> None:
    """Why each string has a rule: these run when torch opens the file, or runs what it opened."""
    import torch

    path = tamper(edit=ATTACKS[attack](str(witness)))
    with contextlib.suppress(Exception):  # whether it fails afterwards does not matter
        torch.export.load(path).module()(torch.rand(2, 3, 24, 40))
    assert witness.exists()


def test_guard_on_sizes_is_taken(tamper: Tamper, tmp_path: Path) -> None:
    path = tamper(edit=_guard("L['image'].size()[2] % 4 == 0"))
    assert load_exported_program(path, tmp_path).graph_signature.user_inputs == ("image",)


def test_size_that_comes_in_steps_is_taken(tmp_path: Path) -> None:
    import torch
    from torch.export import Dim

    class Blocks(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pixel_unshuffle(image, 8)

    steps = 8 * Dim("rows", min=1, max=64)
    program = torch.export.export(
        Blocks(), (torch.rand(1, 3, 32, 8),), dynamic_shapes={"image": {2: steps}}
    )
    torch.export.save(program, tmp_path / "steps.pt2")
    (found,) = program_inputs(load_exported_program(tmp_path / "steps.pt2", tmp_path))
    assert (found.axes[2].multiple_of, found.axes[2].maximum) == (8, 512)


@pytest.mark.parametrize(
    "name",
    [
        "torch.ops.aten.conv2d.default",
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.aten._softmax.default",
        "torch.ops.higher_order.cond",
        "_operator.mul",
        "torch.sym_max",
        "math.ceil",
    ],
)
def test_operators_of_torch_are_taken(name: str) -> None:
    check_operator(name, "node")


@pytest.mark.parametrize(
    "name",
    [
        "torch.os.system",
        "torch.load",
        "torch.hub.load",
        "torch.serialization.load",
        "torch.ops.load_library",
        "torch.ops.aten.__class__.mro",
        "torch.ops.aten.__module__.join",
        "torch.ops.aten.add.__call__",
        "torch.ops.aten.add.default.__globals__",
        "torch.ops.aten.from_file.default",
        "torch.ops.mylib.op.default",
        "torch.ops.higher_order.triton_kernel_wrapper_mutation",
        "torch.ops.aten.conv2d.default\n",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "_operator.call",
        "math.factorial",
        "os.system",
        "#custom:op",
        "",
        None,
        7,
    ],
)
def test_other_names_are_no_operators(name: object) -> None:
    with pytest.raises(UnsafeModelError, match="not one of torch's"):
        check_operator(name, "node")


@pytest.mark.parametrize(
    "document",
    [
        {"unknown_text": "x"},
        {"graph_module": {"graph": {"inputs": [{"as_custom_obj": {"name": "a"}}]}}},
        {"graph_module": {"graph": {"custom_obj_values": {"a": {}}}}},
        {"graph_module": {"treespec_namedtuple_fields": {"a": {}}}},
        {"graph_module": {"metadata": {"unknown": "x"}}},
        {"graph_module": {"graph": {"tensor_values": {"a; b": {}}}}},
        {"graph_module": {"metadata": {"source_fn_stack": "a,torch.__builtins__"}}},
        {"range_constraints": {"__import__('os')": {}}},
        {"as_name": "lambda: 0"},
        {"parameter_name": 'a")("'},
        {"Upper": 1},
        {"type": "cpu); import os"},
        {"config": {"w": {"path_name": "../../etc/passwd", "use_pickle": False}}},
    ],
)
def test_unknown_or_odd_text_is_refused(document: Program) -> None:
    with pytest.raises(UnsafeModelError):
        check_program(document, "program")


@pytest.mark.parametrize("document", [[], "text", None, 1])
def test_document_that_is_no_object_is_damaged(document: object) -> None:
    with pytest.raises(ModelError):
        check_program(document, "program")


def test_bottomless_document_is_refused() -> None:
    document: Program = {}
    for _ in range(500):
        document = {"graph": document}
    with pytest.raises(ModelError, match="nested too deeply"):
        check_program(document, "program")


def test_nodes_are_counted_however_their_keys_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_rules, "MAX_NODES", 3)
    node = {"target": "torch.ops.aten.relu.default", "inputs": [], "outputs": [], "metadata": {}}
    inner = {"name": "a", "arg": {"as_graph": {"name": "g", "graph": {"nodes": [node] * 2}}}}
    branch = {"target": "torch.ops.higher_order.cond", "inputs": [inner], "outputs": []}
    check_program({"graph": {"nodes": [branch]}}, "program")
    with pytest.raises(ModelError, match="program has more than 3 nodes"):
        check_program({"graph": {"nodes": [branch, node]}}, "program")


LEAF: Program = {"type": None, "context": None, "children_spec": []}


@pytest.mark.parametrize(
    ("kind", "context"),
    [("builtins.tuple", "null"), ("builtins.list", "null"), ("builtins.dict", '["a", "b"]')],
)
def test_plain_trees_are_taken(kind: str, context: str) -> None:
    spec = {"type": kind, "context": context, "children_spec": [LEAF]}
    check_tree_spec(json.dumps([1, spec]), "in_spec")


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("collections.defaultdict", '{"default_factory_module": "os"}'),
        ("builtins.dict", '[{"__enum__": true, "fqn": "os:abort", "name": "x"}]'),
        ("builtins.dict", '["a=print()"]'),
        ("builtins.tuple", '{"__enum__": true}'),
        ("mymodule.Type", "null"),
    ],
)
def test_other_trees_are_refused(kind: str, context: str) -> None:
    inner = {"type": kind, "context": context, "children_spec": []}
    outer = {"type": "builtins.tuple", "context": "null", "children_spec": [inner]}
    with pytest.raises(UnsafeModelError):
        check_tree_spec(json.dumps([1, outer]), "in_spec")


@pytest.mark.parametrize("text", ["", "[]", "[1]", "{}", "[2, {}]", "[1, 7]", "nonsense", None])
def test_damaged_trees_are_refused(text: object) -> None:
    with pytest.raises(ModelError):
        check_tree_spec(text, "in_spec")


def test_every_string_of_a_real_program_has_a_rule(upscaler_pt2: Path) -> None:
    with zipfile.ZipFile(upscaler_pt2) as archive:
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        check_program(json.loads(archive.read(name)), name)
