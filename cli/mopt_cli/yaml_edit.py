"""Changes one value of a YAML file, and not one byte beside it. Pure.

PyYAML's marks say where a value lies; what is written there is read back, and taken only where all
else is as it was. (A round trip keeps comments and order, but not the bytes: to change one line of
the file in the tests, ruamel.yaml 0.19 changes 14: indentation, long lines, null, spaces.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from ._errors import CliError
from .yaml_path import Choice, Index, Key, Step, path_text

_STR = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
# An anchor or a tag before a value is no part of it.
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]+)*")


class PathMissing(CliError):
    """A document has no such field."""


class NotAScalar(CliError):
    """What lies at a path is no value that can be replaced."""


@dataclass(frozen=True)
class Wanted:
    """Which document of a file; None where any will do."""

    kind: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        given = (("--kind", self.kind), ("--name", self.name))
        return " ".join(f"{option} {value}" for option, value in given if value is not None)


@dataclass(frozen=True)
class Edit:
    """A file with one value replaced.

    Attributes:
        text: All of it.
        line: Of the value, from 1.
        before: The value that was there; None for null, or nothing.
    """

    text: str
    line: int
    before: str | None


def with_value(text: str, path: tuple[Step, ...], value: str, wanted: Wanted, where: str) -> Edit:
    """Return a file's text with a string at a path; text itself where that is there.

    Quotes stay as they are, unless the value needs others.

    Args:
        where: The file, for messages.

    Raises:
        PathMissing: No document has the field, or several have it.
        NotAScalar: A mapping, a list, a block scalar or an alias is there, or an anchor that
            other fields name.
        CliError: It is not YAML.
    """
    node = _target(_documents(text, where), path, wanted, where)
    line = node.start_mark.line + 1
    at = f"{where}:{line}: {path_text(path)}"
    if node.style in ("|", ">"):
        raise NotAScalar(f"{at} is written over several lines ({node.style}): write it on one")
    before = None if node.tag == _NULL else node.value
    if node.tag == _STR and node.value == value:
        return Edit(text, line, before)
    start, end = _span(node)
    if start < end:
        start += len(_properties(text[start:end]))
    for written in _forms(value, node.style, empty=start == end):
        edited = f"{text[:start]}{written}{text[end:]}"
        if _differs_alone(text, edited, node, value):
            return Edit(edited, line, before)
    raise NotAScalar(
        f"{at} cannot be replaced by itself: an anchor there is used by other fields, or the value "
        f"{value!r} cannot be written there"
    )


def _properties(raw: str) -> str:
    found = _PROPERTIES.match(raw)
    return found[0] if found else ""


def _forms(value: str, style: str | None, *, empty: bool) -> Iterator[str]:
    """Yield how a value may be written, the way that is nearest to what is there first."""
    before = " " if empty else ""
    if style is None:
        yield f"{before}{value}"
    if style == "'":
        yield "'" + value.replace("'", "''") + "'"
    yield before + json.dumps(value, ensure_ascii=False)


def _documents(text: str, where: str) -> list[yaml.Node]:
    """Return the documents of a file that are not empty."""
    try:
        # Not the C parser: its marks count bytes.
        found = list(yaml.compose_all(text, yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise CliError(f"{where} is not YAML: {error}") from error
    return [node for node in found if node is not None]


def _target(
    documents: list[yaml.Node], path: tuple[Step, ...], wanted: Wanted, where: str
) -> yaml.ScalarNode:
    fitting = [node for node in documents if _fits(node, wanted)]
    if not fitting:
        named = ", ".join(map(_named, documents)) or "nothing"
        raise PathMissing(f"{where} has no document with {wanted or 'content'}: it holds {named}")
    having: list[yaml.ScalarNode] = []
    missing: PathMissing | None = None
    for node in fitting:
        try:
            having.append(_found(node, path, where))
        except PathMissing as error:
            missing = missing or error
    if len(having) == 1:
        return having[0]
    if missing is not None and not having:
        raise missing
    named = ", ".join(_named(node) for node in fitting)
    raise PathMissing(
        f"{where}: {path_text(path)} is in {len(having)} of the documents {named}: choose one with "
        "--kind and --name"
    )


def _fits(node: yaml.Node, wanted: Wanted) -> bool:
    kind, name = _identity(node)
    return wanted.kind in (None, kind) and wanted.name in (None, name)


def _identity(node: yaml.Node) -> tuple[str | None, str | None]:
    """Return a document's kind and metadata.name."""
    metadata = _fields(node).get("metadata")
    texts = (_fields(node).get("kind"), _fields(metadata).get("name"))
    kind, name = (n.value if isinstance(n, yaml.ScalarNode) else None for n in texts)
    return kind, name


def _named(node: yaml.Node) -> str:
    kind, name = _identity(node)
    return f"{kind or '?'}/{name or '?'}"


def _fields(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {k.value: v for k, v in node.value if isinstance(k, yaml.ScalarNode)}


def _found(node: yaml.Node, path: tuple[Step, ...], where: str) -> yaml.ScalarNode:
    """Return the scalar at a path.

    Raises:
        PathMissing, NotAScalar
    """
    for depth, step in enumerate(path):
        node, after = _next(node, step, path[: depth + 1], where)
        if node.start_mark.index < after:
            line = f"{where}:{node.start_mark.line + 1}"
            raise NotAScalar(
                f"{where}: {path_text(path[: depth + 1])} is an alias: edit what it names ({line})"
            )
    if not isinstance(node, yaml.ScalarNode):
        kind = "mapping" if isinstance(node, yaml.MappingNode) else "list"
        line = f"{where}:{node.start_mark.line + 1}"
        raise NotAScalar(f"{line}: {path_text(path)} is a {kind}, not a value: name a field in it")
    return node


def _next(node: yaml.Node, step: Step, path: tuple[Step, ...], where: str) -> tuple[yaml.Node, int]:
    """Return what a step leads to, and the place in the text that it must lie behind."""
    line = f"{where}:{node.start_mark.line + 1}"
    found: list[tuple[yaml.Node, int]] = []
    what = "no such field"
    if isinstance(step, Key) and isinstance(node, yaml.MappingNode):
        found = [(v, k.end_mark.index) for k, v in node.value if k.value == step.name]
    elif isinstance(step, Index) and isinstance(node, yaml.SequenceNode):
        found = [(v, node.start_mark.index) for v in node.value[step.place : step.place + 1]]
        what = f"no such item: the list has {len(node.value)}"
    elif isinstance(step, Choice) and isinstance(node, yaml.SequenceNode):
        found = [(v, node.start_mark.index) for v in node.value if _chosen(v, step)]
        what = "no such item"
    if len(found) == 1:
        return found[0]
    if found:
        what = f"there {len(found)} times"
    raise PathMissing(f"{line}: {path_text(path)}: {what}")


def _chosen(node: yaml.Node, step: Choice) -> bool:
    field = _fields(node).get(step.field)
    return isinstance(field, yaml.ScalarNode) and field.value == step.value


def _differs_alone(before: str, after: str, node: yaml.ScalarNode, value: str) -> bool:
    """Return whether the files hold the same but for one scalar, which is the value as a string,
    and no alias stands for that scalar."""
    try:
        old, new = (list(yaml.parse(text, yaml.SafeLoader)) for text in (before, after))
    except yaml.YAMLError:
        return False
    if len(old) != len(new):
        return False
    changed = 0
    for one, other in zip(old, new, strict=True):
        if isinstance(one, yaml.ScalarEvent) and _is(one, node):
            changed += 1
            anchored = one.anchor is not None and _aliased(old, one.anchor)
            if anchored or not _holds(other, one, value):
                return False
        elif _content(one) != _content(other):
            return False
    return changed == 1


def _is(event: yaml.ScalarEvent, node: yaml.ScalarNode) -> bool:
    return _span(event) == _span(node)


def _span(found: yaml.ScalarEvent | yaml.ScalarNode) -> tuple[int, int]:
    """Return where a scalar begins and ends in the text."""
    if found.start_mark is None or found.end_mark is None:
        raise ValueError("no marks")  # Of events and nodes that no parser made.
    return found.start_mark.index, found.end_mark.index


def _holds(event: yaml.Event, before: yaml.ScalarEvent, value: str) -> bool:
    if not isinstance(event, yaml.ScalarEvent) or event.value != value:
        return False
    if (event.anchor, event.tag) != (before.anchor, before.tag):
        return False
    return not event.implicit[0] or _read_as_text(value)


def _read_as_text(value: str) -> bool:
    """Return whether a plain value is a string, and no number, date or null."""
    try:
        return bool(yaml.safe_load(value) == value)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that is none.
        return False


def _aliased(events: list[yaml.Event], anchor: str) -> bool:
    return any(isinstance(e, yaml.AliasEvent) and e.anchor == anchor for e in events)


def _content(event: yaml.Event) -> tuple[object, ...]:
    names = ("anchor", "tag", "value", "style", "implicit", "explicit", "flow_style")
    return (type(event), *(getattr(event, name, None) for name in names))
