"""`mopt watch`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mopt_api.text import plain
from mopt_cli._errors import CliError, ExitCode
from mopt_cli.extras import require_cluster
from mopt_cli.following import Following, Line
from mopt_cli.interrupting import interruptible
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.progress import drawing, draws, print_line
from mopt_cli.table import render

if TYPE_CHECKING:
    from mopt_cli.cluster import Access, Cluster, Raw

# A shell waits for it at each press of Tab.
_COMPLETION_SECONDS = 3.0


def _names(context: typer.Context, incomplete: str) -> list[str]:
    async def names(cluster: Cluster) -> list[str]:
        async with aclosing(cluster.resources()) as watch:
            return [raw["metadata"]["name"] for raw in await anext(watch)]

    return _completed(context, incomplete, names)


def _namespaces(context: typer.Context, incomplete: str) -> list[str]:
    return _completed(context, incomplete, lambda cluster: cluster.namespaces())


def _contexts(context: typer.Context, incomplete: str) -> list[str]:
    require_cluster("watch")
    from mopt_cli.cluster import contexts

    try:
        return [n for n in contexts(context.params.get("kubeconfig")) if n.startswith(incomplete)]
    except CliError:
        return []


def _completed(
    context: typer.Context,
    incomplete: str,
    ask: Callable[[Cluster], Coroutine[Any, Any, list[str]]],
) -> list[str]:
    """Return the names in a cluster with a prefix; none where it cannot be reached."""
    require_cluster("watch")
    from mopt_cli.cluster import Access, NoAnswer, Refused, connected

    given = context.params
    access = Access(given.get("kubeconfig"), given.get("context"), given.get("namespace"))

    async def found() -> list[str]:
        async with asyncio.timeout(_COMPLETION_SECONDS), connected(access) as cluster:
            return await ask(cluster)

    try:
        return [name for name in map(plain, asyncio.run(found())) if name.startswith(incomplete)]
    except (CliError, Refused, NoAnswer, TimeoutError):
        return []


def watch(
    name: Annotated[
        str, typer.Argument(help="Name of the ModelOptimization.", autocompletion=_names)
    ],
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Namespace. Omitted, that of the context.",
            autocompletion=_namespaces,
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            help="Context in the kubeconfig. Omitted, the current one.", autocompletion=_contexts
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Kubeconfig file. Omitted, KUBECONFIG, else ~/.kube/config.")
    ] = None,
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
    from mopt_cli.cluster import Access

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
