"""Shows checks, line by line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from mopt_api.text import one_line

if TYPE_CHECKING:
    from mopt_optimizer.proofs.checks import Check


def check_rows(checks: Iterable[Check]) -> Table:
    """Return checks as rows: whether each holds, what it is of, and what was found."""
    rows = Table.grid(padding=(0, 2))
    for check in checks:
        style = "green" if check.holds else "red"
        said = Text("holds" if check.holds else "REFUSED", style=style)
        rows.add_row(said, Text(one_line(check.name)), Text(one_line(check.message)))
    return rows
