"""What a TorchScript archive's pickle says of the tensors beside it, and what is there.

torch takes the number of values from the pickle and the bytes from a record, and compares the two
nowhere: a short record makes it read, and write, what lies behind it in memory.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Mapping
from typing import NamedTuple

from mopt_optimizer.errors import ModelError, UnsafeModelError

from ..limits import MAX_REPEATED_VALUES, amount

_TYPE = re.compile(r"([A-Z][A-Za-z0-9]*)Storage")
_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "QInt8", "QUInt8"), 1),
    **dict.fromkeys(("Short", "Half", "BFloat16", "UInt16"), 2),
    **dict.fromkeys(("Int", "Float", "QInt32", "UInt32", "ComplexHalf"), 4),
    **dict.fromkeys(("Long", "Double", "UInt64", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_CONTENTS = {
    *("NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("SHORT_BINSTRING", "NONE", "EMPTY_LIST", "EMPTY_DICT"),
}
_FIXED_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# What each takes from the stack before it leaves one object there.
_MADE_FROM = {"APPEND": 2, "SETITEM": 3, "NEWOBJ": 2, "BUILD": 2}
_MADE_FROM_MARKED = {"LIST": 0, "DICT": 0, "APPENDS": 1, "SETITEMS": 1}


class _Global(NamedTuple):
    module: str
    name: str


def check_storages(data: bytes, records: Mapping[str, int], where: str) -> None:
    """Check that each tensor of a pickle is as long as its record.

    Args:
        data: The pickle; check_pickle has taken it.
        records: The bytes of each record by its name in the pickle, such as "0".

    Raises:
        UnsafeModelError: The pickle is written as torch never writes one.
        ModelError: A record is missing or shorter than the pickle says, or the pickle is damaged.
    """
    machine = _Machine(records, where)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
    except (IndexError, KeyError) as error:
        raise ModelError(f"{where} has a damaged pickle") from error


class _Machine:
    """Follows a pickle as torch's reader does, and makes nothing: objects are None."""

    def __init__(self, records: Mapping[str, int], where: str) -> None:
        self._records = records
        self._where = where
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[object, object] = {}

    def step(self, name: str, argument: object) -> None:
        """Follow one opcode.

        Raises:
            IndexError, KeyError: It takes what is not there.
        """
        if name in _CONTENTS:
            self._stack.append(argument)
        elif name in _FIXED_TUPLES:
            self._stack.append(self._pop(_FIXED_TUPLES[name]))
        elif name in _MADE_FROM:
            self._pop(_MADE_FROM[name])
            self._stack.append(None)
        elif name in _MADE_FROM_MARKED:
            self._marked()
            self._pop(_MADE_FROM_MARKED[name])
            self._stack.append(None)
        else:
            self._other(name, argument)

    def _other(self, name: str, argument: object) -> None:
        match name:
            case "PROTO" | "STOP":
                pass
            case "GLOBAL":
                self._stack.append(_Global(*str(argument).split(" ", 1)))
            case "MARK":
                self._below.append(self._stack)
                self._stack = []
            case "TUPLE":
                marked = self._marked()  # which puts the stack below it in its place
                self._stack.append(marked)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "BINPERSID":
                self._check_storage(self._pop(1)[0])
                self._stack.append(None)
            case "REDUCE":
                function, arguments = self._pop(2)
                if isinstance(function, _Global) and function.name == "_rebuild_tensor_v2":
                    self._check_repeats(arguments)
                self._stack.append(None)
            case _:
                # Another reader could take it in another way.
                raise UnsafeModelError(f"{self._where} has a pickle with {name}: torch writes none")

    def _pop(self, count: int) -> tuple[object, ...]:
        if count > len(self._stack):
            raise IndexError
        taken = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        return taken

    def _marked(self) -> tuple[object, ...]:
        taken = tuple(self._stack)
        self._stack = self._below.pop()
        return taken

    def _check_storage(self, stored: object) -> None:
        match stored:
            case ("storage", _Global(module="torch", name=kind), str() as key, str(), int() as n):
                found = _TYPE.fullmatch(kind)
                size = _BYTES.get(found[1]) if found else None
                held = self._records.get(key)
                if size is not None and held is not None and 0 <= n * size <= held:
                    return
                raise ModelError(
                    f"{self._where} has a tensor of {n} values of {kind}; its record {key[:40]!r} "
                    f"has {'no' if held is None else held} bytes: the file is damaged"
                )
        raise UnsafeModelError(f"{self._where} has a tensor that torch.jit.save never writes")

    def _check_repeats(self, arguments: object) -> None:
        """Check a shape and its strides: a stride of 0 repeats a value."""
        match arguments:
            case (_, int(), tuple() as shape, tuple() as strides, *_):
                values = math.prod(size for size in shape if isinstance(size, int))
                if 0 in strides and values > MAX_REPEATED_VALUES:
                    raise ModelError(f"{self._where} has a tensor of {amount(values)} equal values")
                return
        raise UnsafeModelError(f"{self._where} has a tensor that torch.jit.save never writes")
