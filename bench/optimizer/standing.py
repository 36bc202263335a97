"""Who is fastest at a gate: what mopt selects, the peers' best, and PyTorch as it is. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalogue import MOPT
from gates import Figure, holds, shown
from pieces import FORMS, Line
from tables import Row

from mopt_api.contest import Interval
from mopt_api.spec import QualityGate
from mopt_optimizer.timing.paired import ratio_of

SELECTED, EAGER, PEER = "selected", "eager", "peer"
RIVALS = 3
"""Of the peers' forms that hold a gate the fastest ones race against what mopt selected."""
_ERROR = 0.01
_FEWEST_ROUNDS = 3


def rivals(rows: Sequence[Row], bound: QualityGate, *, truth: bool = False) -> list[Row]:
    """Return the peers' fastest rows that hold a gate, the fastest first.

    Args:
        truth: The gate compares with the right answers.
    """
    holding = [
        row for row in _peers(rows) if row.quality and holds(bound, row.quality, truth=truth)
    ]
    return sorted(holding, key=_speed, reverse=True)[:RIVALS]


def left_out(rows: Sequence[Row], bound: QualityGate, *, truth: bool = False) -> dict[str, str]:
    """Return the tools that have nothing at a gate, each with its own reason or its best figure."""
    found: dict[str, str] = {}
    key = Figure(bound.metric, bound.aggregate, truth=truth).key
    for tool in dict.fromkeys(row.tool for row in _peers(rows)):
        mine = [row for row in rows if row.tool == tool]
        if any(row.quality and holds(bound, row.quality, truth=truth) for row in mine):
            continue
        reached = [row.quality[key] for row in mine if row.quality and key in row.quality]
        if reached:
            found[tool] = f"its best is {shown(key, max(reached))}"
        else:
            found[tool] = next((row.error for row in mine if row.error), "not timed")
    return found


def _peers(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.tool != MOPT]


def _speed(row: Row) -> float:
    return row.speedup.median if row.speedup else 0.0


def times_as_fast(mine: Sequence[float], other: Sequence[float]) -> Interval | None:
    """Return how many times as fast a form is as another, with its bounds at 99 %.

    Args:
        mine, other: Time in each round, over the same reference.

    Returns:
        None of fewer than three rounds.
    """
    if min(len(mine), len(other)) < _FEWEST_ROUNDS:
        return None
    pairs = zip(mine, other, strict=True)
    return ratio_of([math.log(b / a) for a, b in pairs], _ERROR)


@dataclass(frozen=True)
class Standing:
    """A gate of a subject.

    Attributes:
        selected: What mopt selected.
        selected_holds: On the evaluation samples, as they were compared beside the peers.
        peer: The peers' fastest form that holds the gate; None where there is none.
        over_peer: How many times as fast as it mopt's selection is.
        over_eager: And as PyTorch as it is; None where the model comes as ONNX only.
        seconds: That mopt needed, from resource to result.
    """

    subject: str
    gate: str
    selected: str
    selected_holds: bool
    peer: str | None
    over_peer: Interval | None
    over_eager: Interval | None
    seconds: float


def standing(line: Line) -> Standing:
    """Return where mopt stands at a gate, of the gate's line."""
    contenders: list[dict[str, Any]] = line["contenders"]
    chosen = next(one for one in contenders if one["role"] == SELECTED)
    timed = [one for one in contenders if one["selected_is"] is not None and one["error"] is None]
    peers = [one for one in timed if one["role"] == PEER and one["holds"]]
    best = min(peers, key=lambda one: one["selected_is"]["ratio"], default=None)
    eager = next((one for one in timed if one["role"] == EAGER), None)
    return Standing(
        line["subject"],
        line["gate"],
        chosen["label"],
        chosen["holds"],
        None if best is None else best["label"],
        _interval(best),
        _interval(eager),
        line["run"]["seconds"],
    )


def _interval(one: Mapping[str, Any] | None) -> Interval | None:
    return None if one is None else Interval(**one["selected_is"])


def standings(lines: Iterable[Line]) -> list[Standing]:
    """Return where mopt stands at every gate that was measured."""
    return [standing(line) for line in lines if line["gate"] != FORMS]


def geomean(ratios: Sequence[float]) -> float | None:
    """Return the geometric mean; None of nothing."""
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if ratios else None


def over_peers(found: Sequence[Standing], gate: str) -> list[float]:
    """Return the ratios to the best peer at a gate, of the subjects that have one."""
    return [one.over_peer.ratio for one in found if one.gate == gate and one.over_peer]


def over_eager(found: Sequence[Standing], gate: str) -> list[float]:
    """Return the ratios to PyTorch as it is at a gate, of the subjects that have a program."""
    return [one.over_eager.ratio for one in found if one.gate == gate and one.over_eager]
