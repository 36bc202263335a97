"""The list of operators that a model may use, against every operator that torch has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.ao.quantization.fx._decomposed

from mopt_optimizer.errors import UnsafeModelError
from mopt_optimizer.opening.resolved import check_program, check_script
from mopt_optimizer.opening.safety.operators import (
    TABLE,
    check_arguments,
    check_operator,
    known_operators,
    title,
)
from mopt_optimizer.opening.safety.script_code import check_code

from . import operator_table

pytestmark = pytest.mark.optimizer

SCHEMAS = torch._C._jit_get_all_schemas()
# torch's own words for "without gradients", and an index that is checked after all (resolved.py).
NAMED_UNSAFE = {
    *("_unsafe_view", "_unsafe_index.Tensor", "_unsafe_index_put", "unsafe_split.Tensor"),
}
NEVER = re.compile(
    r"_reinterpret|^set_$|^set_data|_sparse|sparse_|segment_reduce|resize|from_file|_reshape_alias"
    r"|^save$|^load|manual_seed|^seed$|_print|record_stream|pin_memory|backward$|^native_batch"
    r"|storage$|^data$|^_fft_|_pad_packed"
)


def target_of(schema: torch._C.FunctionSchema) -> str:
    namespace, _, name = schema.name.partition("::")
    return f"torch.ops.{namespace}.{name}.{schema.overload_name or 'default'}"


def test_table_is_what_torch_says() -> None:
    """Write it anew after an update of torch, and look at what changed."""
    if torch.__version__ not in TABLE.read_text().partition("\n")[0]:
        pytest.skip(f"the table is not of torch {torch.__version__}")
    command = "python tests/optimizer/opening/operator_table.py"
    assert TABLE.read_text() == operator_table.table(), f"run {command}"


def test_every_operator_of_torch_is_on_the_list_or_refused_by_name() -> None:
    allowed = refused = 0
    for schema in SCHEMAS:
        target = target_of(schema)
        try:
            check_operator(target, "node 'x'")
            allowed += 1
        except UnsafeModelError as error:
            refused += f"node 'x' names the operator {target!r}" in str(error)
    assert allowed + refused == len(SCHEMAS)
    assert allowed > 1000
    assert refused > 3000


def test_allowed_operators_touch_nothing_but_what_they_are_given() -> None:
    program = known_operators().program
    schemas = {title(s.name, s.overload_name): s for s in SCHEMAS}
    for name in program:
        schema = schemas[name]
        base = name.partition("::")[2].partition(".")[0]
        assert not NEVER.search(base), name
        assert "unsafe" not in {a.name for a in schema.arguments}, name
        if "unsafe" in name:
            assert name.removeprefix("aten::") in NAMED_UNSAFE, name
        for number, argument in enumerate(schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                assert number == 0, f"{name} writes into its argument {argument.name}"
                assert base.endswith("_"), f"{name} changes its first argument"
        assert not re.search(r"Storage|Stream|torch\.classes|\bAny\b", str(schema)), name


def test_arguments_are_those_of_the_operator() -> None:
    schemas = {title(s.name, s.overload_name): s for s in SCHEMAS}
    for name, arguments in known_operators().program.items():
        assert arguments <= {a.name for a in schemas[name].arguments}
        assert not arguments & {"unsafe", "out", "generator"}


def test_argument_that_is_not_on_the_list_is_named() -> None:
    with pytest.raises(UnsafeModelError, match=r"node gives torch\.ops.*the argument 'unsafe'"):
        check_arguments("torch.ops.aten.add.Tensor", ["self", "unsafe"], "node")
    check_arguments("torch.ops.aten.add.Tensor", ["self", "other", "alpha"], "node")
    check_arguments("_operator.add", ["", ""], "node")


def script(line: str) -> dict[str, bytes]:
    return {"code/__torch__.py": f"def f(x: Tensor) -> Tensor:\n  {line}\n  return x\n".encode()}


def test_every_operator_of_torch_is_on_the_scripts_list_or_refused_by_name() -> None:
    allowed = known_operators().script
    names = {schema.name for schema in SCHEMAS}
    for name in names:
        namespace, _, operator = name.partition("::")
        if not operator.isidentifier():
            continue
        lines = [f"_0 = ops.{namespace}.{operator}(x)"]
        if namespace == "aten":
            lines.append(f"_0 = torch.{operator}(x)")
        for line in lines:
            if name in allowed:
                check_code(script(line))
            else:
                with pytest.raises(UnsafeModelError, match=re.escape(operator)):
                    check_code(script(line))
    assert len(allowed & names) > 700


def test_scripts_list_holds_nothing_that_reaches_out() -> None:
    allowed = known_operators().script
    aten = [name.removeprefix("aten::") for name in allowed if name.startswith("aten::")]
    assert not [name for name in aten if NEVER.search(name)]
    unsafe = {n.removeprefix("aten::") for n in allowed if "unsafe" in n}
    assert unsafe == {
        *("_unsafe_view", "_unsafe_index", "_unsafe_index_put", "unsafe_chunk", "unsafe_split"),
        "unsafe_split_with_sizes",
    }
    schemas = [s for s in SCHEMAS if s.name in allowed]
    assert not [s for s in schemas if any(a.name in ("unsafe", "filename") for a in s.arguments)]


def test_scripts_lists_cover_aten() -> None:
    """A method may have any name but that of an operator that is refused."""
    known = known_operators()
    names = {s.name for s in SCHEMAS if s.name.startswith("aten::")}
    assert names <= known.script | known.refused
    assert not known.script & known.refused


def exported(tmp_path: Path) -> torch.export.ExportedProgram:
    class Picks(torch.nn.Module):
        def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            return x[at] + 1

    return torch.export.export(Picks(), (torch.rand(3), torch.tensor([0, 2])))


def test_second_look_refuses_what_torch_resolved_to_another_operator(tmp_path: Path) -> None:
    program = exported(tmp_path)
    check_program(program)
    node = next(n for n in program.graph.nodes if n.target is torch.ops.aten.add.Tensor)
    for target in (torch.ops.aten.segment_reduce.default, torch.load, getattr, "add"):
        node.target = target
        with pytest.raises(UnsafeModelError, match="is not one of torch's operators"):
            check_program(program)


def test_unchecked_index_becomes_a_checked_one(tmp_path: Path) -> None:
    """Compiled, _unsafe_index reads whatever lies there."""
    program = exported(tmp_path)
    node = next(n for n in program.graph.nodes if n.target is torch.ops.aten.index.Tensor)
    node.target = torch.ops.aten._unsafe_index.Tensor
    program.graph_module.recompile()
    check_program(program)
    assert node.target is torch.ops.aten.index.Tensor
    assert "unsafe" not in program.graph_module.code
    result = program.module()(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2]))
    assert result.tolist() == [2, 4]


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(
    "body",
    [
        'torch.save(x, "f")',
        "x.set_(x)",
        "torch.add(x, x, out=x)",
        "if bool(x.sum() > 0):\n    x.resize_([1])",
        "print(x)",
    ],
)
def test_second_look_at_a_script_refuses_what_torch_compiled(body: str) -> None:
    unit = torch.jit.CompilationUnit(f"def f(x: Tensor):\n  {body}\n  return x\n")
    with pytest.raises(UnsafeModelError, match="f calls '"):
        check_script(unit)
