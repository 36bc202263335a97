"""`mopt report`."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopt_api.text import one_line
from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    FromOption,
    KubeconfigOption,
    NamespaceOption,
    complete_names,
)
from mopt_cli.export_sources import is_stored
from mopt_cli.extras import require_page
from mopt_cli.interrupting import interruptible
from mopt_cli.looking import resource_of
from mopt_cli.options import PriceOption
from mopt_cli.output import note
from mopt_cli.sizing import Prices

if TYPE_CHECKING:
    from mopt_cli.reports import Drawing


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME | RESULT.JSON...]",
            help="Name of the ModelOptimization, or result.json files, here or s3://....",
            autocompletion=complete_names,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File or folder to write; a folder is there or ends in /. Omitted, "
            "NAME-TARGET.html, of several targets NAME.html.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    source: FromOption = None,
    target: Annotated[
        str | None, typer.Option(help="Which target of the resource. Omitted, all on one page.")
    ] = None,
    price: PriceOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Write the report of a target's latest result, its digests verified, and print its path.

    Of several targets, or of a result.json of each, it is one page: what to serve on which, at
    what cost, and every form on every target.

    The store's keys are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.

    Exit status: 0 the file is there, 1 there is no result yet, or it could not be had; 2 wrong
    usage, 130 interrupted.
    """
    require_page("report")
    from mopt_cli.reports import page_path, write_page

    access = Access(kubeconfig, context, namespace)
    with interruptible():
        page = _drawn(names or [], source, target, Prices.parse(price or []), access)
        path = page_path(output, page.name, page.target)
        write_page(page.html, path)
    note(f"{path}: {page.told}")
    print(one_line(str(path)))
    if show and not webbrowser.open(path.absolute().as_uri()):
        note("no browser can be opened here: open the file with one")


def _drawn(
    texts: Sequence[str],
    source: Path | None,
    target: str | None,
    prices: Prices,
    access: Access,
) -> Drawing:
    """Return the page of what is named: results here or in a store, else a resource."""
    from mopt_cli.reports import of_resource, of_results

    files = [text for text in texts if is_stored(text) or Path(text).is_file()]
    if files:
        if source is not None or len(files) < len(texts):
            raise CliError("give result.json files alone, or one ModelOptimization")
        return of_results(files, target, prices)
    if len(texts) > 1:
        raise CliError(f"{texts[0]} is not a file: give one ModelOptimization, or results")
    name = texts[0] if texts else None
    return of_resource(resource_of("report", name, source, access), target, prices)
