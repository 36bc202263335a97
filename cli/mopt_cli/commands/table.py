"""`mopt table`."""

from __future__ import annotations

from pathlib import Path

from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.resources import FileArgument, load
from mopt_cli.table import render


def table(file: FileArgument = Path("-"), form: FormatOption = Format.TABLE) -> None:
    """Print the result of a resource: `kubectl get mopt NAME -o json | mopt table`."""
    document = load(file)
    emit(document.get("status") or {}, render(document), form)
