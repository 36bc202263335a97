"""A sizing for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.metrics import metric_in_words
from mopt_api.quantities import significant
from mopt_api.text import cleaned
from mopt_api.tradeoffs import Tradeoff

from .recommendation_table import UNKNOWN, number, render_recommendation
from .sizing import Sizing


def tradeoffs_table(sizing: Sizing) -> RenderableType:
    """Return the Pareto front over all forms of all targets, the recommended one marked."""
    rows = Table(
        title="Pareto front: quality, latency, memory, cost",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    rows.add_column("TARGET", no_wrap=True)
    rows.add_column("VARIANT", no_wrap=True)
    rows.add_column("WORST QUALITY")
    for heading in ("P50 ms", "PEAK MiB", "PER MILLION"):
        rows.add_column(heading, justify="right")
    front = [each for each in sizing.tradeoffs if each.dominated_by is None]
    for each in front:
        chosen = (each.target, each.variant) == (sizing.target, sizing.variant)
        rows.add_row(*_cells(each, chosen=chosen), style="bold green" if chosen else "")
    others = len(sizing.tradeoffs) - len(front)
    said = f"{others} more {'is' if others == 1 else 'are'} nowhere better: -o json has all"
    return Group(rows, Text(said, style="dim"))


def _cells(each: Tradeoff, *, chosen: bool) -> list[str]:
    shown, peak = each.quality, each.peak_memory_bytes
    quality = UNKNOWN
    if shown is not None:
        quality = f"{shown.metric} {metric_in_words(shown.metric, shown.worst, exact=shown.exact)}"
    return [
        f"{'* ' if chosen else '  '}{each.target}",
        each.variant,
        quality,
        number(each.latency_p50_ms),
        number(None if peak is None else peak / 2**20),
        number(each.cost_per_million),
    ]


def render_sizing(sizing: Sizing) -> RenderableType:
    """Return a recommendation with what a Deployment needs."""
    sizing = cleaned(sizing)
    lines = [render_recommendation(sizing)]
    if any(each.dominated_by for each in sizing.tradeoffs):
        lines.append(tradeoffs_table(sizing))
    resources, scaling = sizing.resources, sizing.autoscaling
    if resources is not None:
        memory = f", memory {resources.memory}" if resources.memory else ""
        lines.append(Text(f"resources: requests and limits cpu {resources.cpu}{memory}"))
    if scaling is not None:
        lines.append(
            Text(
                f"autoscaling: {scaling.min_replicas} to {scaling.max_replicas} replicas at "
                f"{significant(scaling.requests_per_second)} requests/s of each"
            )
        )
    return Group(*lines)
