"""Scales of charts and their ticks. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.enums import QualityMetric
from mopt_api.metrics import METRICS, decibels

_LOG_FROM = 20.0
# Nobody sees a difference above this; FP32 runtimes lie there, and would flatten the rest.
_DECIBELS_SHOWN = 80.0
_DECIBELS_ABOVE_GATE = 20.0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its share of the axis' length, 0 to 1, and its text."""

    share: float
    text: str


@dataclass(frozen=True)
class Axis:
    """Values from low to high as shares of a length; outside values are held at the ends."""

    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies, 0 to 1."""
        held = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(held / self.low) / math.log(self.high / self.low)
        return (held - self.low) / (self.high - self.low)

    def percent(self, value: float) -> str:
        """Return where a value lies as SVG has it."""
        return f"{100 * self.share(value):.2f}%"

    def ticks(self, count: int = 5) -> list[Tick]:
        """Return about that many round values."""
        values = self._powers() if self.logarithmic else self._multiples(count)
        if self.logarithmic and len(values) > 2 * count:
            values = [v for v in values if math.log10(v) % 1 < 1e-9]
        return [Tick(self.share(value), f"{value:.10g}") for value in values]

    def _multiples(self, count: int) -> list[float]:
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _powers(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
        return [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]


def from_zero(values: list[float], *, room: float = 1.04) -> Axis:
    """Return an axis that holds positive values: from 0, or logarithmic where they lie far
    apart."""
    low, high = min(values), max(values)
    if low > 0 and high / low > _LOG_FROM:
        return Axis(low / 1.2, high * 1.1, logarithmic=True)
    return Axis(0.0, high * room if high > 0 else 1.0)


def around(values: list[float]) -> Axis:
    """Return an axis that holds the values with a little room on both sides."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return Axis(low - room, high + room)


def highest_told_apart(metric: QualityMetric, bound: float | None) -> float:
    """Return the value above which a chart tells none apart."""
    if not decibels(metric):
        return math.inf
    return max(_DECIBELS_SHOWN, (bound or 0.0) + _DECIBELS_ABOVE_GATE)


def quality_axis(metric: QualityMetric, values: Sequence[float], bound: float | None) -> Axis:
    """Return an axis that holds what is drawn and the gate."""
    everything = [*values, *([] if bound is None else [bound])]
    if not METRICS[metric].higher_is_better:
        everything.append(0.0)
    return around(everything)


def note_above(highest: float, values: Sequence[float]) -> str:
    """Return what to say below a chart on values that it does not tell apart."""
    return f"Values above {highest:g} dB are drawn there." if max(values) > highest else ""
