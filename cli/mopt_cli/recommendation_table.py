"""A recommendation as a table for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.quantities import significant
from mopt_api.recommendation import Considered, Recommendation, Replicas

UNKNOWN = "-"


def considered_table(told: Recommendation) -> RenderableType:
    """Return what every target costs and serves, the recommended one marked."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("TARGET", no_wrap=True)
    rows.add_column("VARIANT", no_wrap=True)
    rows.add_column("SERVING")
    for heading in ("CPUS", "SAMPLES/S", "P99 ms", "PRICE/H", "PER MILLION"):
        rows.add_column(heading, justify="right")
    rows.add_column("BASIS")
    for each in told.considered:
        chosen = each.target == told.target
        rows.add_row(*_cells(each, chosen=chosen), style="bold green" if chosen else "")
    notes = [
        Text(f"{each.target}: {each.message}", style="dim")
        for each in told.considered
        if each.message
    ]
    return Group(rows, *notes)


def _cells(each: Considered, *, chosen: bool) -> list[str]:
    return [
        f"{'* ' if chosen else '  '}{each.target}",
        each.variant,
        each.serving.in_words,
        number(each.cpus),
        number(each.throughput),
        number(each.latency_ms.p99 if each.latency_ms else None),
        number(each.price_per_hour),
        number(each.cost_per_million),
        each.basis,
    ]


def number(value: float | None) -> str:
    """Return a figure for people; - where it is not known."""
    return UNKNOWN if value is None else significant(value)


def render_recommendation(told: Recommendation) -> RenderableType:
    """Return what is recommended, and of every target what it costs, for a terminal."""
    lines = [considered_table(told)] if told.considered else []
    if told.message:
        lines.append(Text(told.message))
    if told.serving is not None:
        text = f"serve: {told.variant} on {told.target}, {told.serving.in_words}; {told.basis}"
        lines.append(Text(text, style="bold"))
    lines += [Text(_replicas(each)) for each in told.replicas_for]
    return Group(*lines)


def _replicas(each: Replicas) -> str:
    count = "1 replica" if each.replicas == 1 else f"{each.replicas:,} replicas"
    text = f"{each.rate:,g} requests/s: {count}"
    if each.cost_per_day is not None:
        text += f", {significant(each.cost_per_day)} a day"
    if each.kilowatt_hours_per_day is not None:
        text += f", {significant(each.kilowatt_hours_per_day)} kWh a day"
    return text
