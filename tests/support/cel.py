"""Evaluates the CEL that the rules of a variant are written in: has, in, ==, !=, !, &&, ||, ?:."""

from __future__ import annotations

import re
from functools import cache
from types import CodeType
from typing import Any

_HAS = re.compile(r"has\(self((?:\.\w+)+)\)")
_FIELD = re.compile(r"self((?:\.\w+)+)")


def evaluate(cel: str, document: dict[str, Any]) -> bool:
    """Return what a rule says of an object in wire form.

    A field that is not there may be read only behind has(), as in CEL.
    """

    def read(path: str) -> Any:
        value: Any = document
        for name in path.strip(".").split("."):
            value = value[name]
        return value

    def has(path: str) -> bool:
        *parents, last = path.strip(".").split(".")
        return last in (read(".".join(parents)) if parents else document)

    return bool(eval(_compiled(cel), {"_has": has, "_get": read}))  # noqa: S307 - our own rules


@cache
def _compiled(cel: str) -> CodeType:
    code = _ternaries(cel)
    code = _HAS.sub(lambda found: f"_has({found[1]!r})", code)
    code = _FIELD.sub(lambda found: f"_get({found[1]!r})", code)
    code = code.replace("&&", " and ").replace("||", " or ")
    return compile(re.sub(r"!(?!=)", " not ", code).strip(), "<cel>", "eval")


def _ternaries(text: str) -> str:
    """Return the text with each `a ? b : c` in Python's order."""
    out, index = "", 0
    while index < len(text):
        if text[index] != "(":
            out, index = out + text[index], index + 1
            continue
        end = _closing(text, index)
        out += f"({_ternaries(text[index + 1 : end])})"
        index = end + 1
    mark = _outside(out, " ? ")
    if mark < 0:
        return out
    rest = out[mark + 3 :]
    colon = _outside(rest, " : ")
    return f"({rest[:colon]}) if ({out[:mark]}) else ({_ternaries(rest[colon + 3 :])})"


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError(f"no closing parenthesis: {text[start:]}")


def _outside(text: str, mark: str) -> int:
    """Return where a mark stands outside of parentheses; -1 where it does not."""
    depth = 0
    for index, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and text.startswith(mark, index):
            return index
    return -1
