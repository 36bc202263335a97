"""The operators that a model may use: those that torch.onnx can translate, and no other.

The list is a file beside this module, written from torch itself
(tests/optimizer/opening/operator_table.py). Nothing here imports torch. An operator that is on the
list computes with tensors that the model was given; that its kernel is free of faults is not
claimed, so a model is opened in a process without credentials all the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mopt_optimizer.errors import UnsafeModelError

TABLE = Path(__file__).with_name("operators.txt")

_SECTION = re.compile(r"\[(\w+)\]")
_ENTRY = re.compile(r"([\w:.]+)\(([\w, ]*)\)", re.A)


class Operators(NamedTuple):
    """The table.

    Attributes:
        program: By name, such as aten::add.Tensor, the names of its arguments.
        script: Names without overloads, such as aten::add, that TorchScript may call.
        refused: The other names of aten.
    """

    program: dict[str, frozenset[str]]
    script: frozenset[str]
    refused: frozenset[str]


def title(name: str, overload: str) -> str:
    """Return what the table calls a schema: aten::add.Tensor; aten::relu for the default one."""
    return f"{name}.{overload}" if overload and overload != "default" else name


@cache
def known_operators() -> Operators:
    """Read the table, once."""
    sections: dict[str, list[str]] = {"program": [], "script": [], "refused": []}
    lines = sections["program"]
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if match := _SECTION.match(line):
            lines = sections[match[1]]
        elif not line.startswith("#"):
            lines.append(line)
    entries = (match.groups() for line in sections["program"] if (match := _ENTRY.fullmatch(line)))
    return Operators(
        program={name: frozenset(filter(None, args.split(", "))) for name, args in entries},
        script=frozenset(name for line in sections["script"] for name in line.split()),
        refused=frozenset(name for line in sections["refused"] for name in line.split()),
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTIONS = {
    # What the exporter translates, and what torch.export writes around a part of a program: the
    # exporter puts that part back.
    "torch.ops.higher_order": _words(
        "cond while_loop scan invoke_subgraph wrap_with_set_grad_enabled wrap_with_autocast"
    ),
    # Arithmetic of sizes.
    "_operator": _words(
        "add sub mul truediv floordiv mod neg pos pow getitem eq ne lt le gt ge and_ or_ not_ "
        "lshift rshift abs"
    ),
    "torch": _words(
        "sym_int sym_float sym_max sym_min sym_not sym_ite sym_sum sym_constrain_range "
        "sym_constrain_range_for_size _sym_sqrt"
    ),
    "math": _words("ceil floor trunc sqrt log2"),
}
_OVERLOAD = re.compile(r"torch\.ops\.(\w{1,80})\.(\w{1,80})\.(\w{1,80})", re.A)


def table_name(target: str) -> str:
    """Return aten::add.Tensor for torch.ops.aten.add.Tensor; "" for what is no overload."""
    match = _OVERLOAD.fullmatch(target)
    return title(f"{match[1]}::{match[2]}", match[3]) if match else ""


def is_allowed(target: str) -> bool:
    """Return whether a program may call what its JSON calls by this name."""
    if table_name(target) in known_operators().program:
        return True
    module, _, function = target.rpartition(".")
    return function in _FUNCTIONS.get(module, frozenset())


def check_operator(value: object, where: str) -> None:
    """Check an operator's name: one that can be exported, or plain arithmetic of sizes.

    Raises:
        UnsafeModelError: Any other, such as torch.os.system, which torch would resolve and call.
    """
    if not isinstance(value, str) or not is_allowed(value):
        raise UnsafeModelError(
            f"{where} names the operator {str(value)[:120]!r}, which is not one of torch's that a "
            "model may use (those that torch.onnx translates): compute it with others, and export "
            "the model again"
        )


def check_arguments(target: str, names: Sequence[object], where: str) -> None:
    """Check the arguments that a node gives to an operator of the table.

    Raises:
        UnsafeModelError: One that is not on the list.
    """
    known = known_operators().program.get(table_name(target))
    if known is None:
        return  # a function without named arguments
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise UnsafeModelError(
                f"{where} gives {target} the argument {str(name)[:80]!r}; it may have "
                f"{', '.join(sorted(known))}"
            )
