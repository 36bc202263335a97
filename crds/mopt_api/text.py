"""Text of others, made safe to show: on a terminal, in a log line, a condition or a page. Pure.

Models, node and object names, stores and libraries may hold anything: escape sequences that drive
a terminal, characters that reorder what is read, line breaks that forge a line.
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)

_BREAKS = re.compile(r"\s*[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*")


def plain(text: str) -> str:
    """Return text in which each character that does more than be seen is written as its escape.

    That is all but letters, marks, digits, punctuation, symbols and spaces: control characters
    (C0, DEL, C1), line separators, formats such as those of direction, surrogates, and what no
    character is assigned to.
    """
    if text.isprintable():
        return text
    return "".join(c if _shows(c) else c.encode("unicode_escape").decode() for c in text)


def _shows(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: str, limit: int | None = None) -> str:
    """Return text on one line, as plain: line breaks and tabs, with the spaces around, are a space.

    Args:
        limit: Most characters of it.
    """
    return plain(_BREAKS.sub(" ", text).strip())[:limit]


def cleaned(model: Model, *, longer: bool = True) -> Model:
    """Return a model with each text in it on one line, as plain. Nothing is validated again.

    Args:
        longer: A text may become longer than it was. Without, it is cut, so that no bound of the
            model is exceeded; what a pattern holds to be plain does not change anyway.
    """
    changes = {
        name: value
        for name in type(model).model_fields
        if (value := _cleaned(before := getattr(model, name), longer)) is not before
    }
    return model.model_copy(update=changes) if changes else model


def cleaned_value(value: object) -> Any:
    """Return what JSON can hold with each text in it, keys too, on one line, as plain."""
    return _cleaned(value, True)


def _cleaned(value: object, longer: bool) -> object:
    """Return a value with clean texts; the same object where it has no others."""
    if isinstance(value, str) and not isinstance(value, Enum):
        shown = one_line(value, None if longer else len(value))
        return value if shown == value else shown
    if isinstance(value, BaseModel):
        return cleaned(value, longer=longer)
    if isinstance(value, list | tuple):
        items = [_cleaned(item, longer) for item in value]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, dict):
        pairs = [(_cleaned(key, longer), _cleaned(item, longer)) for key, item in value.items()]
        same = all(a is c and b is d for (a, b), (c, d) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    return value
