"""`mopt diff`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopt_cli._errors import CliError, ExitCode
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    complete_names,
)
from mopt_cli.export_sources import is_stored, result_of
from mopt_cli.extras import require_cluster, require_page, require_store
from mopt_cli.output import Format, FormatOption, emit, note
from mopt_cli.result_diff import diff as differences
from mopt_cli.result_diff_table import render_diff
from mopt_cli.results import RESULT_SUFFIX

if TYPE_CHECKING:
    from mopt_api.jobs.measure_result import MeasureResult
    from mopt_cli.client import Client


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="NAME or NAME/TARGET of a ModelOptimization, or a result.json here or s3://....",
            autocompletion=complete_names,
        ),
    ],
    after: Annotated[
        str, typer.Argument(metavar="B", help="The same.", autocompletion=complete_names)
    ],
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 where the winner or a form differs.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as an HTML page too.")
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print what changed from one result to another: winner, gates, speedups, sizes, settings.

    Of a resource it is the latest result of its target, from the store, with the keys of
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.

    A speedup is better or worse only where the intervals are apart.

    Exit status: 0 done, 1 it cannot be read, or --exit-code: they differ; 2 wrong usage, or there
    is none of that name.
    """

    def client() -> Client:
        require_cluster("diff")
        from mopt_cli.client import Client

        return Client(namespace, context=context, kubeconfig=kubeconfig)

    if report is not None:
        require_page("diff --report")
    old, new = (_result(text, client) for text in (before, after))
    found = differences(old, new)
    if report is not None:
        from mopt_cli.pages.diff_page import render_diff_page
        from mopt_cli.reports import write_page

        write_page(render_diff_page(found, (before, after), (old, new)), report)
        note(f"wrote {report}")
    emit(found.to_api(), render_diff(found, (before, after), (old, new)), form)
    if exit_code and found.differs:
        raise typer.Exit(ExitCode.FAILED)


def _result(text: str, client: Callable[[], Client]) -> MeasureResult:
    """Return the result that an argument names."""
    if is_stored(text):
        require_store("diff", text)
        return result_of(text)
    if Path(text).is_file():
        return result_of(text)
    if text.endswith(RESULT_SUFFIX):
        raise CliError(f"{text} is not a file: give a result.json, or NAME of a ModelOptimization")
    name, _, target = text.partition("/")
    return client().result(name, target or None)
