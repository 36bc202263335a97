"""`mopt logs`."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    ResourceArgument,
)
from mopt_cli.extras import require_cluster
from mopt_cli.interrupting import interruptible
from mopt_cli.output import note
from mopt_cli.pod_logs import LogFilter


class StageName(StrEnum):
    """Kinds of Jobs, as their Pods' label has them."""

    PREPARE = "prepare"
    MEASURE = "measure"
    VERIFY = "verify"
    REPORT = "report"
    PUBLISH = "publish"


def logs(
    name: ResourceArgument,
    stage: Annotated[
        StageName | None, typer.Option(help="Of this kind of Jobs alone.", case_sensitive=False)
    ] = None,
    target: Annotated[str | None, typer.Option(help="Of this target alone.")] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Wait for more, until the resource is done."),
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Lines as the Jobs wrote them: JSON, and libraries' text.")
    ] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Print the logs of a resource's Jobs, the oldest Pod first.

    Without --raw each line begins with its stage, target and step; | marks what a library printed.

    Exit status: 0 done, 1 there are no such Pods, or their logs cannot be read, 2 there is no
    resource of that name, 130 interrupted.
    """
    require_cluster("logs")
    wanted = LogFilter(stage.value if stage else None, target, raw)
    with interruptible("the work in the cluster continues"):
        asyncio.run(_logs(name, Access(kubeconfig, context, namespace), wanted, follow=follow))


async def _logs(name: str, access: Access, wanted: LogFilter, *, follow: bool) -> None:
    from mopt_cli.cluster import connected
    from mopt_cli.log_session import LogSession

    def show(text: str) -> None:
        print(text, flush=True)

    async with connected(access) as cluster:
        await LogSession(cluster, wanted, show, note).run(name, follow=follow)
