"""Paths into a YAML document, such as .spec.containers[name=main].image. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ._errors import CliError

_KEY = re.compile(r"\.([^\s.\[\]\"]+)")
_INDEX = re.compile(r"\[(\d{1,6})\]")
_QUOTED_KEY = re.compile(r"\.?\[\"((?:[^\"\\]|\\[\"\\])*)\"\]")
_CHOICE = re.compile(r"\[([A-Za-z0-9_.-]+)=(?:\"((?:[^\"\\]|\\[\"\\])*)\"|([^\"\]]*))\]")
_SHAPE = "such as .spec.predictor.model.storageUri, .items[0].name or .containers[name=main].image"


@dataclass(frozen=True)
class Key:
    """A field of a mapping."""

    name: str

    def __str__(self) -> str:
        if _KEY.fullmatch(f".{self.name}"):
            return f".{self.name}"
        return f'["{_escaped(self.name)}"]'


@dataclass(frozen=True)
class Index:
    """An item of a list, by its place, from 0."""

    place: int

    def __str__(self) -> str:
        return f"[{self.place}]"


@dataclass(frozen=True)
class Choice:
    """The one item of a list whose field has a value."""

    field: str
    value: str

    def __str__(self) -> str:
        return f"[{self.field}={self.value}]"


Step = Key | Index | Choice


def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of a path.

    A key with dots is written ["mopt.dev/digest"]; the first dot, and braces around the path as
    kubectl has them, may be left out.

    Raises:
        CliError: It is no path.
    """
    bare = text.strip()
    if bare.startswith("{") and bare.endswith("}"):
        bare = bare[1:-1]
    if bare and bare[0] not in ".[":
        bare = f".{bare}"
    steps: list[Step] = []
    rest = bare
    while rest:
        found = _step(rest)
        if found is None:
            raise CliError(f"--path {text!r} is no path at {rest!r}: write one {_SHAPE}")
        step, length = found
        steps.append(step)
        rest = rest[length:]
    if not steps:
        raise CliError(f"--path {text!r} names no field: write one {_SHAPE}")
    return tuple(steps)


def path_text(steps: tuple[Step, ...]) -> str:
    """Return a path as it is written."""
    return "".join(map(str, steps))


def _step(rest: str) -> tuple[Step, int] | None:
    """Return the first step of a path, and its length; None where there is none."""
    if found := _INDEX.match(rest):
        return Index(int(found[1])), found.end()
    if found := _QUOTED_KEY.match(rest):
        return Key(_unescaped(found[1])), found.end()
    if found := _CHOICE.match(rest):
        value = found[3] if found[2] is None else _unescaped(found[2])
        return Choice(found[1], value), found.end()
    if found := _KEY.match(rest):
        return Key(found[1]), found.end()
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\"\\])", r"\1", text)


def _escaped(text: str) -> str:
    return re.sub(r"([\"\\])", r"\\\1", text)
