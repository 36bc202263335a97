"""`mopt table`."""

from __future__ import annotations

from pathlib import Path

from ..output import Format, FormatOption, emit
from ..resources import FileArgument, load
from ..table import render


def table(file: FileArgument = Path("-"), form: FormatOption = Format.TABLE) -> None:
    """Print the result of a resource: `kubectl get mopt NAME -o json | mopt table`."""
    document = load(file)
    emit(document.get("status") or {}, render(document), form)
