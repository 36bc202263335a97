"""`mopt watch`."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mopt_cli._errors import ExitCode
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    complete_names,
)
from mopt_cli.extras import require_cluster
from mopt_cli.following import Following, Line
from mopt_cli.interrupting import interruptible
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.progress import drawing, draws, print_line
from mopt_cli.table import render

if TYPE_CHECKING:
    from mopt_cli.cluster import Raw


def watch(
    name: Annotated[
        str, typer.Argument(help="Name of the ModelOptimization.", autocompletion=complete_names)
    ],
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what libraries print in the Jobs.")
    ] = False,
) -> None:
    """Follow a resource in a cluster until it is Ready or Stalled, and print its result.

    Exit status: 0 Ready, 3 no variant passed, 2 wrong spec, 1 the work failed or the resource was
    deleted, 130 interrupted.
    """
    require_cluster("watch")
    with interruptible("the work in the cluster continues"):
        code, raw = asyncio.run(
            _watch(name, Access(kubeconfig, context, namespace), verbose=verbose)
        )
    if raw is not None:
        emit(raw.get("status") or {}, render(dict(raw)), form)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


async def _watch(name: str, access: Access, *, verbose: bool) -> tuple[ExitCode, Raw | None]:
    from mopt_cli.cluster import connected
    from mopt_cli.watch_session import WatchSession

    console, following = Console(stderr=True), Following(name)
    live = draws(console)

    def on_line(line: Line) -> None:
        if verbose if line.foreign else not live:
            print_line(console, line.text, dim=line.foreign)

    shown = drawing(console, lambda: following.render(time.time())) if live else nullcontext()
    async with connected(access) as cluster:
        with shown:
            return await WatchSession(cluster, name, following, on_line).run()
