"""`mopt rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from mopt_api.status import SelectionRecord
from mopt_api.text import cleaned
from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    FromOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    TargetOption,
)
from mopt_cli.looking import resource_of
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.pinning import (
    AsOption,
    CheckOption,
    DocumentNameOption,
    KindOption,
    Place,
    pin,
)
from mopt_cli.selections import PinAs, name_of, previous, selection_of
from mopt_cli.table import place
from mopt_cli.yaml_edit import Wanted


def rollback(
    name: NameArgument = None,
    source: FromOption = None,
    target: TargetOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="How many selections back, or how the digest of a file, result or image begins. "
            "Omitted, the last one before the present."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="YAML file that is changed in place, as by pin.")
    ] = None,
    path: Annotated[str | None, typer.Option("--path", help="Its value, as of pin.")] = None,
    how: AsOption = None,
    kind: KindOption = None,
    document: DocumentNameOption = None,
    check: CheckOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Name the selection before the present one, and what to pin to serve it again.

    Nothing is written to the cluster: with --file and --path, the file is changed as pin does.

    Exit status: 0 done, 1 --check: the file names another one; or it was not published, 2 wrong
    usage, such as no earlier selection.
    """
    if (file is None) != (path is None):
        raise CliError("--file and --path belong together")
    if file is None and (check or how or kind or document):
        raise CliError("--as, --check, --kind and --name need --file and --path")
    raw = resource_of("rollback", name, source, Access(kubeconfig, context, namespace))
    record = previous(raw, target, to)
    if file is not None and path is not None:
        value = selection_of(record, name_of(raw)).named(how or PinAs.REFERENCE)
        pin(Place(file, path, Wanted(kind, document), check), value, form)
        return
    emit(record.to_api(), _shown(cleaned(record)), form)


def _shown(record: SelectionRecord) -> Group:
    lines = [
        ("pin", record.published or "not published"),
        ("uri", record.uri or "not in status"),
        ("artifact", record.artifact or "none"),
        ("result", record.report),
    ]
    title = f"{record.target}: {record.selected}, selected {record.time} "
    title += f"for generation {record.generation}"
    return Group(Text(title, style="bold"), *(place(what, where) for what, where in lines))
