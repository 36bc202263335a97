"""How sure the choice of a winner is: its intervals, ties, and why measuring ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import ObservedModel, Ratio

CONFIDENCE = 0.99
"""Of a verdict as a whole: over all contenders, and all times that it could have been given."""
TIE = 0.02
"""Forms whose interval lies within this are not told apart. MLPerf's audit takes a difference of
2 % for none (MLPerf_Audit_Guidelines.adoc)."""
MOST_FORMS = 12
_WIDEST = 100.0
TOO_FEW_ROUNDS = "too few rounds"
"""In the place of bounds that say nothing."""

_ATOMIC = {"x-kubernetes-list-type": "atomic"}
Bounds = Annotated[
    list[Ratio],
    Field(min_length=2, max_length=2, json_schema_extra=_ATOMIC),
]
Names = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    Field(max_length=MOST_FORMS, json_schema_extra=_ATOMIC),
]


class Stopped(StrEnum):
    """Why no more rounds were measured."""

    DECIDED = "Decided"
    TIE = "Tie"
    BUDGET = "Budget"


class Compared(ObservedModel):
    """How many times better a form is than another at a point, in the rounds that both were in."""

    than: str = Field(max_length=40, description="Name of the other.")
    metric: str = Field(max_length=32, description="Figure compared, one of the objective's.")
    ratio: Ratio = Field(description="Above 1 where it is better.")
    interval: Bounds = Field(description="Bounds of the ratio, at the verdict's confidence.")


class RunnerUp(ObservedModel):
    """The best form that the winner is certainly better than, or is not told apart from."""

    name: str = Field(max_length=40, description="Its name.")
    ratio: Ratio = Field(description="The winner's over it.")
    interval: Bounds = Field(description="Bounds of the ratio.")


class Verdict(ObservedModel):
    """Whether the winner is certain. Closed sets are open here: a reader may be older."""

    winner: str | None = Field(
        default=None, max_length=40, description="As selected: baseline where it is kept."
    )
    stopped: str = Field(
        max_length=16,
        description="Decided: the winner is certainly the best. Tie: it is within 2 % of those in "
        "ties, and better than the others. Budget: undecided, no time was left or no interval is "
        "known; the winner is the best estimate.",
    )
    metric: str | None = Field(
        default=None,
        max_length=32,
        description="Figure that was compared. Absent, with all below, from a Job's message that "
        "had no room for it; result.json has it.",
    )
    confidence: float = Field(
        default=CONFIDENCE, ge=0, le=1, description="Of all intervals together."
    )
    ratio: Ratio | None = Field(default=None, description="The winner's over the baseline.")
    interval: Bounds | None = Field(
        default=None, description="Bounds of the ratio; absent where they are not known."
    )
    ties: Names = Field(default=[], description="Forms that are as good, within 2 %.")
    undecided: Names = Field(
        default=[], description="Forms that may be better; of Budget at least one."
    )
    runner_up: RunnerUp | None = Field(
        default=None, description="The next best, where its interval is known."
    )
    rounds: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Rounds that the winner was measured in."
    )

    @property
    def certain(self) -> bool:
        """Whether nothing was left open."""
        return self.stopped != Stopped.BUDGET


def is_telling(interval: Sequence[float]) -> bool:
    """Tell whether bounds say anything; those of a form that left after a few rounds may not."""
    low, high = interval
    return high <= _WIDEST * low


def ratio_in_words(ratio: float, interval: Sequence[float] | None, digits: int = 1) -> str:
    """Return a ratio with its bounds for people: 4.9x [4.7, 5.1]."""
    if interval is None:
        return f"{ratio:.{digits}f}x"
    if not is_telling(interval):
        return f"{ratio:.{digits}f}x [{TOO_FEW_ROUNDS}]"
    low, high = interval
    # Bounds that would read as the ratio itself say nothing.
    while digits < 3 and f"{low:.{digits}f}" == f"{high:.{digits}f}" and low != high:
        digits += 1
    return f"{ratio:.{digits}f}x [{low:.{digits}f}, {high:.{digits}f}]"


def doubt_in_words(verdict: Verdict) -> str:
    """Return what a reader must know of a verdict beside its winner; empty where it is certain."""
    if verdict.stopped == Stopped.DECIDED:
        return ""
    if verdict.stopped == Stopped.TIE:
        return f"tie within {TIE:.0%} with {', '.join(verdict.ties)}"
    against = ", ".join(verdict.undecided)
    return f"undecided: {against} may be better" if against else "undecided"


def verdict_in_words(verdict: Verdict) -> str:
    """Return how sure a selection is, in one line."""
    said = doubt_in_words(verdict) or f"certain at {verdict.confidence:.0%}"
    if verdict.rounds:
        said += f", after {verdict.rounds} rounds"
    if (other := verdict.runner_up) is not None:
        said += f"; {ratio_in_words(other.ratio, other.interval, 2)} the next best, {other.name}"
    return said
