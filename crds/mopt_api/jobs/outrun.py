"""Which variants cannot win with new weights of a graph, by what was measured with others. Pure.

New weights change quality, not speed: the operators and sizes are the same. So a variant is left
out only where what was faster then is as sure to be there now:

- FP32, which no weights keep from holding a gate, was clearly faster; or
- a form of the same precision that is searched alike, with at least as much quality by every gate,
  was faster by more.

What missed a gate, failed, or could not run there is tried again, and so is the last winner. On
each hardware that is known it must have lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from pydantic import ValidationError

from mopt_api.contest import Interval
from mopt_api.enums import Precision
from mopt_api.figures import Hardware, VariantReason, VariantState
from mopt_api.noise import signed
from mopt_api.variants import Quantization, Variant
from mopt_api.verdict import ratio_in_words

from .gates import judged_value
from .measure_result import MeasureResult, VariantResult
from .plan import MeasurePlan, objective_point
from .winner import Evidence

CLEARLY = 1.15
"""How many times faster FP32 must certainly have been."""
CLEARLY_ALIKE = 1.3
"""As much for a form of the same precision, which new weights may cost some of its INT8 layers."""
LASTS = timedelta(days=30)
"""What was measured longer ago is measured again."""
_MOST_WORDS = 220


@dataclass(frozen=True)
class Measured:
    """A measurement of a graph.

    Attributes:
        digest: Of its result.json.
        hardware: The digest of what it was measured on.
    """

    digest: str
    hardware: str
    result: MeasureResult
    plan: MeasurePlan

    @classmethod
    def of(cls, digest: str, hardware: str, result: MeasureResult) -> Measured | None:
        """Return a measurement; None where it is of another version, or tells nothing."""
        try:
            plan = MeasurePlan.model_validate(result.plan)
        except ValidationError:
            return None
        return cls(digest, hardware, result, plan) if tells(result) else None

    @cached_property
    def rows(self) -> Mapping[str, VariantResult]:
        """Its variants by name, without the baseline."""
        return {row.name: row for row in self.result.variants}

    def passed(self, name: str) -> bool:
        """Return whether a variant was within gates and constraints."""
        return name in self.rows and self.rows[name].state is VariantState.PASSED

    def over(self, one: str, other: str) -> Interval | None:
        """Return how many times better a variant was than another; None where that is not known."""
        objective = self.plan.objective
        evidence = Evidence(
            {row.name: row for row in self.result.everyone},
            objective.metric,
            objective_point(objective, self.plan.benchmark),
        )
        return evidence.between(one, other)

    def variant(self, name: str) -> Variant | None:
        """Return a variant as it was planned."""
        return next((variant for variant in self.plan.variants if variant.name == name), None)


def tells(result: MeasureResult) -> bool:
    """Return whether a measurement may tell of other weights: it was decided, undisturbed."""
    return (
        result.baseline is not None
        and result.measured_at is not None
        and result.verdict is not None
        and result.verdict.certain
        and not any(point.unstable for row in result.everyone for point in row.points)
    )


def lasts(measured_at: str, now: datetime) -> bool:
    """Return whether a measurement is recent enough, and not of the future.

    Args:
        measured_at: As MeasureResult has it.
        now: With its time zone.
    """
    age = now - datetime.fromisoformat(measured_at)
    return -timedelta(days=1) <= age <= LASTS


def hardware_digest(hardware: Hardware) -> str:
    """Return what tells hardware apart, as 64 hex digits: not the node's name."""
    known = hardware.model_copy(update={"node": None})
    text = json.dumps(known.to_api(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def outrun_by(history: Sequence[Measured], tried: Collection[str]) -> dict[str, str]:
    """Return the variants that need not be tried, each with what was found.

    Args:
        history: Of one graph, question and kind of target, on any hardware; not of these weights.
        tried: The variants that would be tried now.
    """
    newest = sorted(history, key=lambda one: one.result.measured_at or "", reverse=True)
    by_hardware: dict[str, list[Measured]] = {}
    for one in newest:
        by_hardware.setdefault(one.hardware, []).append(one)
    found = [_outrun_there(there, tried) for there in by_hardware.values()]
    if not found:
        return {}
    return {name: said for name, said in found[0].items() if all(name in one for one in found)}


def _outrun_there(there: Sequence[Measured], tried: Collection[str]) -> dict[str, str]:
    """Return the variants that lost on one hardware.

    Args:
        there: Measurements, the newest first.
    """
    found: dict[str, str] = {}
    for name in tried:
        # The latest that had it: since then it was left out.
        index = next((i for i, one in enumerate(there) if name in one.rows), None)
        if index is not None and (said := _lost(name, there[index], there[:index], tried)):
            found[name] = said
    return found


def _lost(
    name: str, latest: Measured, since: Sequence[Measured], tried: Collection[str]
) -> str | None:
    """Return what shows that a variant cannot win; None where it may."""
    row = latest.rows[name]
    when = f"{latest.digest}, {(latest.result.measured_at or '')[:10]}"
    if row.reason is VariantReason.TOO_SLOW:
        # As a few calls beside FP32 would show again.
        return _within(
            f"too slow to win with other weights of the same graph ({when})", row.message
        )
    if name == latest.result.selected or not latest.passed(name):
        return None
    ahead: dict[str, Interval] = {}
    for other in latest.rows:
        held = all(other not in one.rows or one.passed(other) for one in (latest, *since))
        if other in tried and held and (by := _clearly_ahead(other, name, latest)) is not None:
            ahead[other] = by
    if not ahead:
        return None
    best = max(ahead, key=lambda other: ahead[other].ratio)
    by = ahead[best]
    ratio = ratio_in_words(by.ratio, [by.low, by.high])
    return _within(f"{best} is {ratio} as fast with other weights of the same graph ({when})")


def _clearly_ahead(one: str, other: str, measured: Measured) -> Interval | None:
    """Return by how much a variant was ahead of another, if so much that new weights change nothing
    about it."""
    ours, theirs = measured.variant(one), measured.variant(other)
    if one == other or ours is None or theirs is None:
        return None
    least = CLEARLY
    if ours.precision is not Precision.FP32:
        if not (_alike(ours, theirs) and _as_good(one, other, measured)):
            return None
        least = CLEARLY_ALIKE
    found = measured.over(one, other)
    return found if found is not None and found.low >= least else None


def _alike(one: Variant, other: Variant) -> bool:
    """Return whether two variants are of one precision, and searched in the same way."""
    mine, theirs = (each.quantization or Quantization() for each in (one, other))
    return (one.precision, mine.mode, mine.searches) == (
        other.precision,
        theirs.mode,
        theirs.searches,
    )


def _as_good(one: str, other: str, measured: Measured) -> bool:
    """Return whether a variant had at least the quality of another, by every gate."""
    for gate in measured.plan.quality:
        mine = judged_value(gate, measured.rows[one].quality)
        theirs = judged_value(gate, measured.rows[other].quality)
        if mine is None or theirs is None:
            return False
        if signed(gate.metric, mine) < signed(gate.metric, theirs):
            return False
    return True


def _within(words: str, more: str | None = None) -> str:
    """Return words with more of them, as far as a reason has room."""
    room = _MOST_WORDS - len(words) - 2
    return f"{words}: {more[:room]}" if more and room > 0 else words[:_MOST_WORDS]
