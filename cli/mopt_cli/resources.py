"""Reads ModelOptimizations from YAML or JSON and applies the CRD's rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from mopt_api.base import API_VERSION, KIND
from mopt_api.spec import ModelOptimizationSpec

from ._errors import CliError, ExitCode
from .field_problems import problems

# The API server takes 3 MB.
_MAX_CHARACTERS = 4 * 1024 * 1024
_MAX_LIST_CHARACTERS = 1024 * 1024 * 1024
"""Of a list in JSON: ten thousand resources with long status have 200 MB."""
_MAX_NODES = 1_000_000

FileArgument = Annotated[Path, typer.Argument(help="YAML or JSON file; - is standard input.")]


class _Loader(yaml.SafeLoader):
    """As SafeLoader, and refuses a field that is there twice, as the API server does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _Twice(key.value, key.start_mark.line + 1)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


class _Twice(Exception):
    """A mapping with a key twice: the key, and the line of its second place."""


def load(path: Path) -> dict[str, Any]:
    """Return a ModelOptimization as it was written.

    Raises:
        CliError: It cannot be read, or is something else.
    """
    return checked_kind(_parsed(_text(path, _MAX_CHARACTERS), path), path)


def load_all(path: Path) -> list[dict[str, Any]]:
    """Return the ModelOptimizations of a file: one, or a list as kubectl get -o json has it.

    Raises:
        CliError: It cannot be read, or holds something else.
    """
    text = _text(path, _MAX_LIST_CHARACTERS)
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CliError(f"{path} is not JSON: {error}") from error
    else:
        if len(text) > _MAX_CHARACTERS:
            raise CliError(f"{path} is larger than any {KIND}: write a list of them as JSON")
        document = _parsed(text, path)
    items = document.get("items") if isinstance(document, dict) else None
    if isinstance(items, list) and str(document.get("kind")).endswith("List"):
        return [checked_kind(item, path) for item in items]
    return [checked_kind(document, path)]


def checked_kind(document: Any, where: Path | str) -> dict[str, Any]:
    """Return a document that is a ModelOptimization of this version; nothing else is checked.

    Raises:
        CliError: It is something else.
    """
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise CliError(f"{where} is not a {KIND} ({API_VERSION})")
    if document.get("apiVersion") != API_VERSION:
        raise CliError(f"{where}: apiVersion {document.get('apiVersion')!r} is not {API_VERSION}")
    return document


def _text(path: Path, most: int) -> str:
    try:
        if str(path) == "-":
            text = sys.stdin.read(most + 1)
        else:
            with path.open(encoding="utf-8") as file:
                text = file.read(most + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path} cannot be read: {error}") from error
    if len(text) > most:
        raise CliError(f"{path} is larger than any {KIND}")
    return text


def _parsed(text: str, path: Path) -> Any:
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
        size = _size(document, {})
    except _Twice as error:
        key, line = error.args
        raise CliError(
            f"{path}, line {line}: {key} is there twice; keep one", ExitCode.FAILED
        ) from error
    except RecursionError as error:
        raise CliError(f"{path} is nested deeper than any {KIND}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none.
        raise CliError(f"{path} is not YAML: {error}") from error
    if size > _MAX_NODES:
        raise CliError(f"{path} is larger than any {KIND} once its aliases are written out")
    return document


def _size(value: Any, known: dict[int, int]) -> int:
    """Return the number of values in a document with its aliases written out.

    Args:
        known: Those of lists and mappings, by identity; unbounded ones while they are counted.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = _MAX_NODES + 1
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known) for item in inner)
    return known[id(value)]


def checked_spec(spec: Any, where: Path) -> ModelOptimizationSpec:
    """Return a spec.

    Raises:
        CliError: Says the first problem and how many more there are.
    """
    if found := problems(spec):
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        raise CliError(f"{where}: {found[0]}{more}; see mopt check")
    return ModelOptimizationSpec.model_validate(spec)
