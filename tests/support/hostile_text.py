"""Text that does something when it is shown, and models with such text in every field."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m"  # escape sequences: title, clear, colour
    "\x9b1A\x9dtitle\x9c"  # the same in C1
    "\u202eredro\u2066\u200b\ufeff"  # order of letters, and what is not seen
    "\x7f\x08\x00\r\nReady=True Optimized: forged\x0b\x0c\x1c\x85\u2028\u2029"
    "\U000e0041\ud7ff"  # a tag, and nothing assigned
)


_PLAIN: dict[Any, Any] = {
    int: 3,
    float: 1.5,
    bool: True,
    bytes: b"picture",
    datetime: datetime(2026, 11, 1, tzinfo=UTC),
}


def shows_only(text: str, *, lines: bool = False) -> bool:
    """Tell whether each character of a text does nothing but be seen, or ends one of its lines."""
    seen = (c.isprintable() or unicodedata.category(c) == "Zs" for c in text)
    return all(shown or (lines and c == "\n") for shown, c in zip(seen, text, strict=True))


def filled(kind: type[Model], text: str = HOSTILE) -> Model:
    """Return a model in which every field is set, each text to the one given, and so is each that
    a later version adds. Nothing is validated: bounds are other tests' matter."""
    fields = {
        name: _filled(field.annotation, text, _least(field.metadata))
        for name, field in kind.model_fields.items()
    }
    return kind.model_construct(**fields)


def _least(metadata: Sequence[Any]) -> int:
    """Return how many items a list has at least; one where nothing is said."""
    for one in metadata:
        known = one.metadata if isinstance(one, FieldInfo) else [one]
        for bound in known:
            if isinstance(bound, MinLen):
                return max(1, bound.min_length)
    return 1


def _filled(annotation: Any, text: str, least: int = 1) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _filled(arguments[0], text, max(least, _least(arguments[1:])))
    if origin is Literal:
        return arguments[0]
    if origin in (Union, UnionType):
        return _filled(next(one for one in arguments if one is not NoneType), text, least)
    if origin in (list, tuple):
        return origin([_filled(arguments[0], text)] * least)
    if origin is dict:
        return {_filled(arguments[0], text): _filled(arguments[1], text)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return filled(annotation, text)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next(iter(annotation))
    return _PLAIN.get(annotation, text)


def texts(value: Any) -> Iterator[str]:
    """Yield each text in a model, a list or a mapping, keys among them."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from texts(getattr(value, name))
    elif isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
