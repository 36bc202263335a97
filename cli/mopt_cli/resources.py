"""Reads ModelOptimizations from YAML or JSON and applies the CRD's rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from mopt_api.base import API_VERSION, KIND
from mopt_api.spec import ModelOptimizationSpec

from ._errors import CliError

FileArgument = Annotated[Path, typer.Argument(help="YAML or JSON file; - is standard input.")]


def load(path: Path) -> dict[str, Any]:
    """Return a ModelOptimization as it was written.

    Raises:
        CliError: It cannot be read, or is something else.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise CliError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise CliError(f"{path} is not a {KIND} ({API_VERSION})")
    if document.get("apiVersion") != API_VERSION:
        raise CliError(f"{path}: apiVersion {document.get('apiVersion')!r} is not {API_VERSION}")
    return document


def problems(spec: Any) -> list[str]:
    """Return what the API server would reject in a spec, each with its field's path."""
    try:
        ModelOptimizationSpec.model_validate(spec)
    except ValidationError as error:
        return [
            f"{'.'.join(['spec', *map(str, problem['loc'])])}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
        ]
    return []


def checked_spec(spec: Any, where: Path) -> ModelOptimizationSpec:
    """Return a spec.

    Raises:
        CliError: Says the first problem and how many more there are.
    """
    if found := problems(spec):
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        raise CliError(f"{where}: {found[0]}{more}; see mopt check")
    return ModelOptimizationSpec.model_validate(spec)
