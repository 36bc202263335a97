"""What commands print: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer
import yaml
from rich.console import Console, RenderableType

# Wide enough for the tables where no terminal says its width.
_PIPED_WIDTH = 160


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    Format, typer.Option("--format", "-o", help="How the result is printed.", case_sensitive=False)
]


def emit(data: object, table: RenderableType, form: Format) -> None:
    """Print data on standard output.

    Args:
        data: What JSON and YAML show: plain dicts, lists and scalars.
        table: What people see.
    """
    if form is Format.JSON:
        print(json.dumps(data, indent=2))
    elif form is Format.YAML:
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")
    else:
        Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(
            # A path that is longer than a line stays whole, to be copied.
            table,
            crop=False,
        )


def note(message: str) -> None:
    """Print a note for the user that is not part of the result."""
    print(f"mopt: {message}", file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """Return text of an untrusted file with its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
