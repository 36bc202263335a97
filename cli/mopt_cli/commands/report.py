"""`mopt report`."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from mopt_api.text import one_line
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    FromOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    TargetOption,
)
from mopt_cli.extras import require_page, require_store
from mopt_cli.interrupting import interruptible
from mopt_cli.looking import resource_of
from mopt_cli.output import note
from mopt_cli.selections import name_of, target_of


def report(
    name: NameArgument = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File or folder to write; a folder is there or ends in /. Omitted, "
            "NAME-TARGET.html.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    source: FromOption = None,
    target: TargetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Write the report of a target's latest result, its digests verified, and print its path.

    The store's keys are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.

    Exit status: 0 the file is there, 1 there is no result yet, or it could not be had; 2 wrong
    usage, 130 interrupted.
    """
    raw = resource_of("report", name, source, Access(kubeconfig, context, namespace))
    found = target_of(raw, target)
    require_page("report")
    require_store("report", found.report.uri)
    from mopt_cli.reports import drawn_page, page_path, write_page

    path = page_path(output, name_of(raw), found.name)
    with interruptible():
        write_page(drawn_page(raw, found), path)
    note(f"{path}: drawn from {found.report.digest}, verified")
    print(one_line(str(path)))
    if show and not webbrowser.open(path.absolute().as_uri()):
        note("no browser can be opened here: open the file with one")
