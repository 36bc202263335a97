"""Options that name a cluster, and what a shell completes them with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mopt_api.text import plain

from ._errors import CliError
from .access import Access
from .extras import require_cluster

if TYPE_CHECKING:
    from .cluster import Cluster

# A shell waits for it at each press of Tab.
_COMPLETION_SECONDS = 3.0


def complete_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of ModelOptimizations that begin so."""

    return _completed(context, incomplete, lambda cluster: cluster.names())


def _namespaces(context: typer.Context, incomplete: str) -> list[str]:
    return _completed(context, incomplete, lambda cluster: cluster.namespaces())


def complete_contexts(context: typer.Context, incomplete: str) -> list[str]:
    """Return the contexts of the kubeconfig that begin so."""
    require_cluster("watch")
    from .cluster import contexts

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
    from .cluster import NoAnswer, Refused, connected

    given = context.params
    access = Access(given.get("kubeconfig"), given.get("context"), given.get("namespace"))

    async def found() -> list[str]:
        async with asyncio.timeout(_COMPLETION_SECONDS), connected(access) as cluster:
            return await ask(cluster)

    try:
        return [name for name in map(plain, asyncio.run(found())) if name.startswith(incomplete)]
    except (CliError, Refused, NoAnswer, TimeoutError):
        return []


NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace. Omitted, that of the context.",
        autocompletion=_namespaces,
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        help="Context in the kubeconfig. Omitted, the current one.",
        autocompletion=complete_contexts,
    ),
]
KubeconfigOption = Annotated[
    Path | None, typer.Option(help="Kubeconfig file. Omitted, KUBECONFIG, else ~/.kube/config.")
]
NameArgument = Annotated[
    str | None,
    typer.Argument(help="Name of the ModelOptimization.", autocompletion=complete_names),
]
ResourceArgument = Annotated[
    str, typer.Argument(help="Name of the ModelOptimization.", autocompletion=complete_names)
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        "-f",
        help="File with the resource, as kubectl get mopt -o json has it, in place of a cluster; "
        "- is standard input.",
    ),
]
TargetOption = Annotated[
    str | None, typer.Option(help="Which target of the resource. Omitted, the only one.")
]
