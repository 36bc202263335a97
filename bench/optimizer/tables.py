"""The results as rows, each with its ratios to mopt's row of the same strategy. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from catalogue import GATE_DB, MOPT, Recipe
from producing import Produced
from racing import Form, Quality, Spread

_HEADINGS = (
    "Strategy",
    "Tool",
    "Make s",
    "MiB",
    "ms",
    "Speed-up over FP32",
    "Worst dB",
    "Mean dB",
    "Worst SSIM",
    "Nodes",
    "Make",
    "Size",
    "Latency",
    "Worst dB",
)
_MIB = 2**20


@dataclass(frozen=True)
class Against:
    """A row's figures over mopt's in the same strategy; above 1 means that mopt's is smaller.

    Attributes:
        latency: Over the rounds, each row's own ratio to the reference taken first.
        worst_psnr_db: Minus mopt's, since decibels are a ratio already; below 0, mopt is closer.
    """

    seconds: float
    size: float
    latency: Spread
    worst_psnr_db: float


@dataclass(frozen=True)
class Row:
    """One recipe's results.

    Attributes:
        seconds: To make the file.
        size_bytes: Of all its files.
        latency_ms: Median over the rounds of each turn's median.
        speedup: Over the reference, over the rounds.
        nodes: In the ONNX file, those of subgraphs included; None of other files.
        against: None for mopt's own first row, and where either has no figures.
        error: Why there are no figures.
    """

    strategy: str
    tool: str
    detail: str
    runtime: str
    version: str | None
    seconds: float | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    speedup: Spread | None = None
    quality: Quality | None = None
    nodes: int | None = None
    against: Against | None = None
    error: str | None = None

    @property
    def label(self) -> str:
        """Tool and detail."""
        return f"{self.tool} ({self.detail})" if self.detail else self.tool

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Sizes:
    """Of a file."""

    size_bytes: int
    nodes: int | None


def make_rows(
    recipes: Sequence[Recipe],
    produced: dict[str, Produced],
    forms: dict[str, Form],
    sizes: dict[str, Sizes],
) -> list[Row]:
    """Return a row per recipe, in their order."""
    leaders: dict[str, Recipe] = {}
    for recipe in recipes:
        if recipe.tool == MOPT:
            leaders.setdefault(recipe.strategy, recipe)
    return [_row(recipe, leaders, produced, forms, sizes) for recipe in recipes]


def _row(
    recipe: Recipe,
    leaders: dict[str, Recipe],
    produced: dict[str, Produced],
    forms: dict[str, Form],
    sizes: dict[str, Sizes],
) -> Row:
    made, form = produced[recipe.name], forms.get(recipe.name)
    row = Row(
        strategy=recipe.strategy,
        tool=recipe.tool,
        detail=recipe.detail,
        runtime=recipe.runtime,
        version=made.version,
        seconds=made.seconds,
    )
    error = made.error or (form.error if form else None)
    if error is not None or form is None or not form.relative:
        return replace(row, error=error or "not timed")
    leader, size = leaders.get(recipe.strategy), sizes[recipe.name]
    against = None
    if leader is not None and leader != recipe:
        against = _against(recipe, leader, produced, forms, sizes)
    return replace(
        row,
        size_bytes=size.size_bytes,
        latency_ms=statistics.median(form.turns),
        speedup=Spread.of([1 / relative for relative in form.relative]),
        quality=form.quality,
        nodes=size.nodes,
        against=against,
    )


def _against(
    recipe: Recipe,
    leader: Recipe,
    produced: dict[str, Produced],
    forms: dict[str, Form],
    sizes: dict[str, Sizes],
) -> Against | None:
    if leader.name not in forms:
        return None
    own, other = forms[recipe.name], forms[leader.name]
    mine, theirs = produced[recipe.name].seconds, produced[leader.name].seconds
    if other.error or own.quality is None or other.quality is None or not mine or not theirs:
        return None
    return Against(
        seconds=mine / theirs,
        size=sizes[recipe.name].size_bytes / sizes[leader.name].size_bytes,
        latency=Spread.of([a / b for a, b in zip(own.relative, other.relative, strict=True)]),
        worst_psnr_db=own.quality.worst_psnr - other.quality.worst_psnr,
    )


def fastest_faithful(rows: Sequence[Row], minimum_db: float = GATE_DB) -> dict[str, Row]:
    """Return each tool's fastest row whose worst photograph keeps the decibels, fastest first."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.speedup is None or row.quality is None or row.quality.worst_psnr < minimum_db:
            continue
        if row.tool not in best or _speed(row) > _speed(best[row.tool]):
            best[row.tool] = row
    return dict(sorted(best.items(), key=lambda item: _speed(item[1]), reverse=True))


def _speed(row: Row) -> float:
    return row.speedup.median if row.speedup else 0.0


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return heading and rows as text; the last four columns are over mopt's."""
    table: list[tuple[str, ...]] = [_HEADINGS]
    for row in rows:
        quality, speedup, against = row.quality, row.speedup, row.against
        if row.error is not None or speedup is None or quality is None:
            blanks = [""] * (len(_HEADINGS) - 3)
            table.append((row.strategy, row.label, f"none: {row.error}", *blanks))
            continue
        table.append(
            (
                row.strategy,
                row.label,
                f"{row.seconds:.2f}",
                f"{(row.size_bytes or 0) / _MIB:.2f}",
                f"{row.latency_ms:.1f}",
                f"{speedup.median:.2f}x ({speedup.low:.2f}-{speedup.high:.2f})",
                f"{quality.worst_psnr:.1f}",
                f"{quality.mean_psnr:.1f}",
                f"{quality.worst_ssim:.4f}",
                "" if row.nodes is None else str(row.nodes),
                *(
                    ("", "", "", "")
                    if against is None
                    else (
                        f"{against.seconds:.2f}x",
                        f"{against.size:.2f}x",
                        f"{against.latency.median:.2f}x",
                        f"{against.worst_psnr_db:+.1f}",
                    )
                ),
            )
        )
    return table


def markdown(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    head, *body = cells(rows)
    # Twice the same heading would not tell which is the difference.
    heading = (*head[:10], *(f"{title} over mopt's" for title in head[10:13]), "dB minus mopt's")
    lines = [_line(heading), _line(["---"] * len(heading)), *map(_line, body)]
    return "\n".join(lines)


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def winners(rows: Sequence[Row]) -> str:
    """Return each tool's fastest row that keeps the gate, in Markdown."""
    lines = [
        "| Tool | Its fastest form | Speed-up over FP32 | Worst dB |",
        "| --- | --- | --- | --- |",
    ]
    for tool, row in fastest_faithful(rows).items():
        if row.speedup and row.quality:
            form = f"{row.strategy} ({row.detail})" if row.detail else row.strategy
            lines.append(
                _line((tool, form, f"{row.speedup.median:.2f}x", f"{row.quality.worst_psnr:.1f}"))
            )
    return "\n".join(lines)
