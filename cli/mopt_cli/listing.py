"""ModelOptimizations as a table, a row each: `mopt get`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from mopt_api.status import Condition, ConditionType, TargetStatus
from mopt_api.text import cleaned, one_line
from mopt_api.verdict import ratio_in_words

from .durations import age
from .model_optimization import ModelOptimization
from .plain_table import add_row, plain_table

_UNKNOWN = "-"
_NEWS: dict[str, str] = {
    ConditionType.STALLED: "True",
    ConditionType.OUTDATED: "True",
    ConditionType.ARTIFACT_AVAILABLE: "False",
    ConditionType.PUBLISHED: "False",
}
"""In which status a condition is news beside Ready's."""
_STYLES = {"True": "green", "False": "red"}


def render_list(
    resources: Sequence[ModelOptimization], now: datetime, *, wide: bool, namespaces: bool
) -> Table:
    """Return resources as a table.

    Args:
        wide: With quality, sizes, finished targets and what Ready says.
        namespaces: Whether theirs are shown.
    """
    headings = ["NAME", "READY", "STATUS", "CONDITIONS", "WINNER", "SPEEDUP"]
    headings += ["QUALITY", "SIZE", "TARGETS"] if wide else []
    headings += ["AGE"] + (["MESSAGE"] if wide else [])
    headings = ["NAMESPACE", *headings] if namespaces else headings
    rows = plain_table(*headings)
    for each in resources:
        cells = _cells(each, now, wide=wide)
        ready = each.condition(ConditionType.READY)
        where = [one_line(each.namespace)] if namespaces else []
        style = _STYLES.get(ready.status if ready else "", "")
        add_row(rows, *where, *cells, style=style)
    return rows


def _cells(resource: ModelOptimization, now: datetime, *, wide: bool) -> list[str]:
    status = cleaned(resource.status)
    ready = next((c for c in status.conditions if c.type == ConditionType.READY), None)
    created = resource.raw["metadata"].get("creationTimestamp")
    cells = [
        one_line(resource.name),
        ready.status if ready else _UNKNOWN,
        ready.reason if ready else "not seen by the operator yet",
        ", ".join(news(status.conditions)) or _UNKNOWN,
        _of_targets(status.targets, [target.selected for target in status.targets]),
        _of_targets(status.targets, [_speedup(target) for target in status.targets]),
    ]
    summary = status.summary
    if wide:
        told = [summary.quality, summary.size, summary.targets] if summary else [None] * 3
        cells += [each or _UNKNOWN for each in told]
    cells.append(age(created, now))
    return [*cells, ready.message if ready else ""] if wide else cells


def news(conditions: Sequence[Condition]) -> list[str]:
    """Return what conditions beside Ready say that is to be noticed: Outdated=OlderOptimizer.

    A condition that is good when it is True is named with its status: Published=False ....
    """
    return [
        f"{c.type}={c.reason}" if c.status == "True" else f"{c.type}=False {c.reason}"
        for c in conditions
        if _NEWS.get(c.type) == c.status
    ]


def _speedup(target: TargetStatus) -> str | None:
    won = target.winner
    return None if won is None or won.speedup is None else ratio_in_words(won.speedup, None, 2)


def _of_targets(targets: Sequence[TargetStatus], values: Sequence[str | None]) -> str:
    """Return a value of each target; with their names where there are several."""
    shown = [value or _UNKNOWN for value in values]
    if len(targets) > 1:
        shown = [f"{t.name}={value}" for t, value in zip(targets, shown, strict=True)]
    return " ".join(shown) or _UNKNOWN
