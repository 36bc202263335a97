"""`mopt`: what one does with a ModelOptimization besides kubectl."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.console import Console

from mopt_api.base import API_VERSION, KIND
from mopt_api.spec import ModelOptimizationSpec

from .table import render

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    help="Check ModelOptimizations and read their results.",
)
FileArgument = Annotated[Path, typer.Argument(help="YAML or JSON file; - is standard input.")]


def _fail(message: str) -> typer.Exit:
    typer.echo(f"mopt: {message}", err=True)
    return typer.Exit(2)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise _fail(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise _fail(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise _fail(f"{path} is not a {KIND} ({API_VERSION})")
    return document


@app.command()
def check(file: FileArgument) -> None:
    """Apply the CRD's own rules to a resource, offline; exit 1 where one is broken."""
    document = _load(file)
    if document.get("apiVersion") != API_VERSION:
        raise _fail(f"apiVersion: {document.get('apiVersion')!r} is not {API_VERSION}")
    try:
        ModelOptimizationSpec.model_validate(document.get("spec"))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = ".".join(["spec", *map(str, problem["loc"])])
            typer.echo(f"{where}: {problem['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{file}: valid")


@app.command()
def table(file: FileArgument = Path("-")) -> None:
    """Print the result of a resource: `kubectl get mopt NAME -o json | mopt table`."""
    document = _load(file)
    Console().print(render(document))


@app.command()
def schema() -> None:
    """Print the JSON schema of spec, for editors."""
    typer.echo(json.dumps(ModelOptimizationSpec.model_json_schema(), indent=2))


if __name__ == "__main__":
    app()
