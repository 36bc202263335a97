"""What commands print: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer
import yaml
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from mopt_api.text import one_line, plain

from .plain_table import Ragged

# Wide enough for the tables where no terminal says its width.
_PIPED_WIDTH = 160
_UNBOUNDED_WIDTH = 8192


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    Format, typer.Option("--format", "-o", help="How the result is printed.", case_sensitive=False)
]


class Plain:
    """Shows something, each of its texts plain: the last wall before a terminal.

    What is shown should be clean before, so that its columns are as wide as what is in them.
    """

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options):
            if segment.control:
                yield segment
            else:
                text = "\n".join(map(plain, segment.text.split("\n")))
                yield Segment(text, segment.style)


def emit(data: object, table: RenderableType, form: Format, *, whole: bool = False) -> None:
    """Print data on standard output.

    Args:
        data: What JSON and YAML show: plain dicts, lists and scalars.
        table: What people see.
        whole: Rows are as long as what is in them, whatever the terminal's width, as kubectl's.
    """
    if form is Format.JSON:
        print(json.dumps(data, indent=2))
    elif form is Format.YAML:
        # ASCII, as JSON is: characters that drive a terminal arrive as escapes.
        print(yaml.safe_dump(data, sort_keys=False), end="")
    else:
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        Console(width=_UNBOUNDED_WIDTH if whole else width).print(
            # A path that is longer than a line stays whole, to be copied.
            Plain(Ragged(table) if whole else table),
            crop=False,
        )


def note(message: str) -> None:
    """Print a note for the user that is not part of the result."""
    print(f"mopt: {one_line(message)}", file=sys.stderr, flush=True)
