"""`mopt gc`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopt_api.stores import PVC
from mopt_cli._errors import CliError, ExitCode, store_failed
from mopt_cli.access import Access
from mopt_cli.cluster_options import KubeconfigOption, complete_contexts
from mopt_cli.durations import duration
from mopt_cli.extras import require_cluster, require_store
from mopt_cli.garbage.live import Live, live_of
from mopt_cli.interrupting import interruptible
from mopt_cli.looking import add_everywhere
from mopt_cli.output import Format, FormatOption, emit, note
from mopt_cli.resources import load_all

if TYPE_CHECKING:
    from mopt_cli.garbage.sweeping import Outcome

_CLAIM = f"{PVC}://"
_SCHEMES = ("s3://", "file://", _CLAIM)


_Output = Annotated[
    str,
    typer.Option(
        help="s3://BUCKET/PREFIX or pvc://CLAIM/PATH, as spec.output.uri; or a folder of mopt run."
    ),
]
_Contexts = Annotated[
    list[str] | None,
    typer.Option(
        help="Context of a cluster whose resources write there; repeat it for each.",
        autocompletion=complete_contexts,
    ),
]
_Files = Annotated[
    list[Path] | None,
    typer.Option(
        help="File of resources that write there, of kubectl get mopt -A -o json; repeat it for "
        "each."
    ),
]
_Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Of the claim: the only one whose resources are read. Omitted, all are.",
    ),
]
_Keep = Annotated[
    int | None,
    typer.Option(
        min=1, help="Selections of each target that stay. Omitted, all in status.history."
    ),
]
_Age = Annotated[
    str, typer.Option(help="What was written within this time stays, such as 24h or 7d.")
]
_Delete = Annotated[bool, typer.Option("--delete", help="Remove what is listed.")]
_NothingLive = Annotated[
    bool,
    typer.Option(
        "--nothing-live", help="Remove even where no resource names anything in the store."
    ),
]


def gc(
    output: _Output,
    context: _Contexts = None,
    kubeconfig: KubeconfigOption = None,
    namespace: _Namespace = None,
    resources: _Files = None,
    keep: _Keep = None,
    older_than: _Age = "24h",
    delete: _Delete = False,
    nothing_live: _NothingLive = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """List what in an output store nothing names any more, and remove it with --delete.

    What a resource of the clusters or files names stays, with all that this names in turn.

    Exit status: 0 done, 1 the store or a cluster refuses, or a resource is at work, 2 wrong usage,
    130 interrupted.
    """
    age = duration("--older-than", older_than)
    uri = output if output.startswith(_SCHEMES) else Path(output).absolute().as_uri()
    if namespace is not None and not uri.startswith(_CLAIM):
        raise CliError(
            f"--namespace is for {_CLAIM} alone: resources of every namespace may write to {uri}"
        )
    clusters = [Access(kubeconfig, each, namespace) for each in context or []]
    if not clusters and (kubeconfig is not None or namespace is not None):
        clusters = [Access(kubeconfig, None, namespace)]
    read = _reader(uri, clusters, resources or [], keep)
    require_store("gc", uri)
    from mopt_cli.garbage.listing import document, shown

    now = datetime.now(UTC)
    outcome = _sweep(uri, read, now - age, delete=delete, nothing_live=nothing_live)
    emit(document(outcome, uri, delete=delete), shown(outcome, uri, now, delete=delete), form)


def _sweep(
    uri: str, read: Callable[[], Live], cutoff: datetime, *, delete: bool, nothing_live: bool
) -> Outcome:
    """Return what a store holds, after the removal of what nothing names if that is asked.

    Raises:
        CliError: The store or a cluster refuses, or nothing may be removed now.
    """
    from mopt_cli.garbage.sweeping import Sweep, Unsafe
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of

    try:
        with interruptible("what was removed was named by nothing that is left"):
            sweep = Sweep(uri, os.environ, read, cutoff, note)
            outcome = sweep.look()
            if not delete:
                return outcome
            _check_live(outcome, uri, nothing_live=nothing_live)
            return sweep.remove(outcome)
    except Unsafe as error:
        raise CliError(str(error), ExitCode.FAILED) from error
    except OptimizerError as error:
        raise store_failed(report_of(error)) from error


def _check_live(outcome: Outcome, output: str, *, nothing_live: bool) -> None:
    """Refuse to empty a store by the resources of another cluster."""
    stored = {one.name for one in outcome.objects}
    if outcome.plan.removed and stored.isdisjoint(outcome.live.roots) and not nothing_live:
        raise CliError(
            f"none of the {outcome.live.resources} resources names anything in {output}: are these "
            "the clusters that write there? If nothing there is in use, add --nothing-live",
            ExitCode.FAILED,
        )


def _reader(
    output: str, clusters: Sequence[Access], files: Sequence[Path], keep: int | None
) -> Callable[[], Live]:
    """Return what reads what is in use.

    Raises:
        CliError: Nobody said where, or a file cannot be read.
    """
    if not clusters and not files:
        raise CliError(
            "name the clusters whose resources write there with --context (each of them), or files "
            "of kubectl get mopt -A -o json with --resources: what these do not name is unused"
        )
    if clusters:
        require_cluster("gc")
    listed = [raw for file in files for raw in load_all(file)]

    def read() -> Live:
        live = live_of(listed, output, keep)
        for access in clusters:
            asyncio.run(add_everywhere(access, lambda raw: live.add(raw, output, keep)))
        return live

    return read
