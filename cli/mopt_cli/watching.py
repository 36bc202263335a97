"""Follows a resource to its end, on the terminal: `mopt watch`, and --wait of other commands."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from ._errors import ExitCode
from .access import Access
from .following import Following, Line
from .interrupting import interruptible
from .output import Format, emit
from .progress import drawing, draws, print_line
from .table import render

if TYPE_CHECKING:
    from .cluster import Raw


def watch_to_end(name: str, access: Access, form: Format, *, verbose: bool = False) -> None:
    """Show the progress of a resource until it is Ready or Stalled, and print its result.

    Args:
        verbose: Show what libraries print in the Jobs.

    Raises:
        CliError: There is no such resource, it cannot be read, or Ctrl-C.
        typer.Exit: It did not end Ready.
    """
    with interruptible("the work in the cluster continues"):
        code, raw = asyncio.run(_watch(name, access, verbose=verbose))
    if raw is not None:
        emit(raw.get("status") or {}, render(dict(raw)), form)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


async def _watch(name: str, access: Access, *, verbose: bool) -> tuple[ExitCode, Raw | None]:
    from .cluster import connected
    from .watch_session import WatchSession

    console, following = Console(stderr=True), Following(name)
    live = draws(console)

    def on_line(line: Line) -> None:
        if verbose if line.foreign else not live:
            print_line(console, line.text, dim=line.foreign)

    shown = drawing(console, lambda: following.render(time.time())) if live else nullcontext()
    async with connected(access) as cluster:
        with shown:
            return await WatchSession(cluster, name, following, on_line).run()
