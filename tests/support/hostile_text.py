"""Text that does something when it is shown, and models with such text in every field."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m"  # escape sequences: title, clear, colour
    "\x9b1A\x9dtitle\x9c"  # the same in C1
    "\u202eredro\u2066\u200b\ufeff"  # order of letters, and what is not seen
    "\x7f\x08\x00\r\nReady=True Optimized: forged\x0b\x0c\x1c\x85\u2028\u2029"
    "\U000e0041\ud7ff"  # a tag, and nothing assigned
)


def shows_only(text: str, *, lines: bool = False) -> bool:
    """Tell whether each character of a text does nothing but be seen, or ends one of its lines."""
    return all(c.isprintable() or (lines and c == "\n") for c in text)


def spoilt(model: Model, text: str = HOSTILE) -> Model:
    """Return a model with a text after each text that it holds; keys and members of closed sets
    stay. Nothing is validated: so whatever a future bound refuses is tried as well."""
    return model.model_copy(
        update={name: _spoilt(getattr(model, name), text) for name in type(model).model_fields}
    )


def _spoilt(value: Any, text: str) -> Any:
    if isinstance(value, BaseModel):
        return spoilt(value, text)
    if isinstance(value, str) and not isinstance(value, Enum):
        return value + text
    if isinstance(value, list | tuple):
        return type(value)(_spoilt(item, text) for item in value)
    if isinstance(value, dict):
        return {key: _spoilt(item, text) for key, item in value.items()}
    return value


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
