"""A second look, at what torch made of a file: each operator as torch resolved it.

The file was checked as text before torch opened it. This holds even where torch would read that
text in another way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mopt_optimizer.errors import UnsafeModelError

from .safety.operators import is_allowed, known_operators

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_OPS = {"call_function", "get_attr", "output", "placeholder"}
# What TorchScript's graphs are made of, beside operators.
_STRUCTURE = frozenset(
    f"prim::{name}"
    for name in (
        *("Constant", "ListConstruct", "DictConstruct", "TupleConstruct", "TupleSlice"),
        *("ListUnpack", "CallMethod", "CallFunction", "GetAttr", "SetAttr", "CreateObject"),
        *("If", "Loop", "isinstance", "Enter", "Exit"),
    )
)
# Writes into a tensor that is given for the result.
_OUT_VARIANT = re.compile(r"\*,.*\([a-z]!\)")


def check_program(program: ExportedProgram) -> None:
    """Check each operator of an opened program; put checked operators in place of unchecked ones.

    Raises:
        UnsafeModelError: One that is not on the list.
    """
    import torch

    checked = {
        torch.ops.aten._unsafe_index.Tensor: torch.ops.aten.index.Tensor,
        torch.ops.aten._unsafe_index_put.default: torch.ops.aten.index_put.default,
    }
    for module in program.graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        changed = False
        for node in module.graph.nodes:
            if node.op not in _OPS or (
                node.op == "call_function" and not is_allowed(_name_of(node.target))
            ):
                raise UnsafeModelError(
                    f"node {node.name!r} calls {str(node.target)[:120]!r}, which is not one of "
                    "torch's operators that a model may use"
                )
            # Compiled, they read without looking whether the index exists.
            if node.op == "call_function" and node.target in checked:
                node.target = checked[node.target]
                changed = True
        if changed:
            module.recompile()


def _name_of(target: object) -> str:
    """Return what a .pt2 calls a function, by what it is."""
    import torch

    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = target._schema.name.partition("::")
        return f"torch.ops.{namespace}.{name}.{target._schema.overload_name or 'default'}"
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"torch.ops.higher_order.{target._name}"
    module = getattr(target, "__module__", None)
    return f"{module}.{getattr(target, '__name__', '')}"


def check_script(unit: torch._C.CompilationUnit) -> None:
    """Check each operator of all the functions that torch compiled from a script.

    Raises:
        UnsafeModelError: One that is not on the list.
    """
    allowed = known_operators().script | _STRUCTURE
    seen: set[str] = set()
    for function in unit.get_functions():  # type: ignore[func-returns-value,attr-defined]
        for node in _nodes(function.graph):
            schema = node.schema()
            if schema in seen:
                continue
            arguments = schema.rpartition(") -> ")[0]
            if node.kind() not in allowed or _OUT_VARIANT.search(arguments):
                raise UnsafeModelError(
                    f"{function.name} calls {node.kind()!r}, in the form {schema!r}, which is not "
                    "one of torch's operators that a model may use"
                )
            if "::" in schema:
                seen.add(schema)


def _nodes(graph: torch._C.Graph) -> Iterator[torch._C.Node]:
    pending: list[torch._C.Graph | torch._C.Block] = [graph]
    while pending:
        for node in pending.pop().nodes():
            yield node
            pending += node.blocks()
