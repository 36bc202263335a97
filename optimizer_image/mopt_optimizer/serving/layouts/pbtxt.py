"""Writes protobuf's text format, as config.pbtxt has it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_INDENT = "  "


@dataclass(frozen=True)
class Word:
    """A value without quotes: of an enum."""

    text: str


@dataclass(frozen=True)
class Comment:
    """A line for people."""

    text: str


Value = str | int | bool | Word | Mapping[str, object] | Sequence[object]
Field = tuple[str, Value] | Comment


def written(fields: Sequence[Field]) -> bytes:
    """Return a message.

    Args:
        fields: In their order, each a name and its value: a scalar; a mapping, which is a message;
            or a sequence of either.
    """
    return "".join(f"{line}\n" for line in _fields(fields, "")).encode()


def _fields(fields: Sequence[Field], indent: str) -> Iterator[str]:
    for field in fields:
        if isinstance(field, Comment):
            yield f"{indent}# {field.text}"
        else:
            yield from _field(*field, indent)


def _field(name: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{indent}{name} {{"
        for key, inner in value.items():
            yield from _field(key, inner, indent + _INDENT)
        yield f"{indent}}}"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if all(isinstance(item, int) for item in value):
            yield f"{indent}{name}: [{', '.join(map(_scalar, value))}]"
            return
        for item in value:
            yield from _field(name, item, indent)
    else:
        yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, Word):
        return value.text
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return quoted(str(value))


def quoted(text: str) -> str:
    """Return a string in quotes; what is not printable ASCII as bytes of UTF-8 in octal."""
    parts = []
    for byte in text.encode():
        character = chr(byte)
        if character in '"\\':
            parts.append(f"\\{character}")
        elif " " <= character <= "~":
            parts.append(character)
        else:
            parts.append(f"\\{byte:03o}")
    return f'"{"".join(parts)}"'
