"""Tables for a terminal whose cells may hold what others wrote."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text


def plain_table(*headings: str, wrapped: Collection[str] = ()) -> Table:
    """Return an empty table without borders.

    Args:
        wrapped: Headings of the columns whose cells take several lines where they are long; those
            of others are cut, with a sign of it.
    """
    rows = Table(box=None, pad_edge=False)
    for heading in headings:
        if heading in wrapped:
            rows.add_column(Text(heading), overflow="fold")
        else:
            rows.add_column(Text(heading), no_wrap=True)
    return rows


def add_row(rows: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row; text in it is shown as it is, never read as rich's markup."""
    shown = (cell if isinstance(cell, Text) else Text(cell) for cell in cells)
    rows.add_row(*shown, style=style)


class Ragged:
    """Shows something without the spaces at the ends of its lines.

    A table fills its last column up to the longest cell: where lines are longer than the terminal
    is wide, blank ones would follow each.
    """

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self._shown, options, pad=False):
            kept = list(line)
            while kept and not kept[-1].text.rstrip():
                kept.pop()
            if kept:
                last = kept.pop()
                kept.append(Segment(last.text.rstrip(), last.style))
            yield from kept
            yield Segment.line()
