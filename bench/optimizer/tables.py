"""The results as rows, each with its ratios to mopt's row of the same strategy. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from catalogue import MOPT, Recipe
from gates import shown
from producing import Produced
from racing import Form, Quality, Spread

_BEFORE = ("Strategy", "Tool", "Make s", "MiB", "ms", "Speed-up over FP32")
_AFTER = ("Nodes", "Make over mopt's", "Size over mopt's", "Latency over mopt's")
_MIB = 2**20


@dataclass(frozen=True)
class Against:
    """A row's figures over mopt's in the same strategy; above 1 means that mopt's is smaller.

    Attributes:
        latency: Over the rounds, each row's own ratio to the reference taken first.
        quality: Of the figure that gates judge, minus mopt's; below 0, mopt is closer.
    """

    seconds: float
    size: float
    latency: Spread
    quality: float


@dataclass(frozen=True)
class Row:
    """One recipe's results.

    Attributes:
        seconds: To make the file.
        size_bytes: Of all its files.
        latency_ms: Median over the rounds of each turn's median.
        speedup: Over the reference, over the rounds.
        quality: Figures by their keys; first what gates judge.
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

    @property
    def recipe(self) -> str:
        """Return the name of the recipe that it is of."""
        return "/".join(filter(None, (self.strategy, self.tool, self.detail)))

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Row:
        """Return what as_json was made of."""
        speedup, against = fields["speedup"], fields["against"]
        if against is not None:
            against = Against(**{**against, "latency": Spread(**against["latency"])})
        return cls(**{**fields, "speedup": speedup and Spread(**speedup), "against": against})


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
    if other.error or not own.quality or not other.quality or not mine or not theirs:
        return None
    judged = next(iter(own.quality))
    return Against(
        seconds=mine / theirs,
        size=sizes[recipe.name].size_bytes / sizes[leader.name].size_bytes,
        latency=Spread.of([a / b for a, b in zip(own.relative, other.relative, strict=True)]),
        quality=own.quality[judged] - other.quality[judged],
    )


def cells(rows: Sequence[Row], keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return heading and rows as text; the last four columns are over mopt's.

    Args:
        keys: Of the figures; first what gates judge.
    """
    heading = (*_BEFORE, *keys, *_AFTER, f"{keys[0]} minus mopt's")
    return [heading, *(_cells(row, keys) for row in rows)]


def _cells(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    quality, speedup, against = row.quality, row.speedup, row.against
    if row.error is not None or speedup is None or quality is None:
        blanks = [""] * (len(_BEFORE) + len(keys) + len(_AFTER) + 1 - 3)
        return (row.strategy, row.label, f"none: {row.error}", *blanks)
    over = ("", "", "", "")
    if against is not None:
        digits = 1 if "dB" in keys[0] else 4
        over = (
            f"{against.seconds:.2f}x",
            f"{against.size:.2f}x",
            f"{against.latency.median:.2f}x",
            f"{against.quality:+.{digits}f}",
        )
    return (
        row.strategy,
        row.label,
        f"{row.seconds:.2f}",
        f"{(row.size_bytes or 0) / _MIB:.2f}",
        f"{row.latency_ms:.2f}",
        f"{speedup.median:.2f}x ({speedup.low:.2f}-{speedup.high:.2f})",
        *(shown(key, quality[key]) if key in quality else "" for key in keys),
        "" if row.nodes is None else str(row.nodes),
        *over,
    )


def forms_table(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Return every form's figures, in Markdown."""
    heading, *body = cells(rows, keys)
    return markdown(heading, body)


def markdown(heading: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join([_line(heading), _line(["---"] * len(heading)), *map(_line, body)])


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
