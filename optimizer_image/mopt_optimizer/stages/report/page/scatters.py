"""Geometry of the chart of speed against quality; the template draws it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.enums import QualityMetric
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.spec import Objective, QualityGate

from . import figures
from .axes import Tick, from_zero, highest_told_apart, note_above, quality_axis
from .labels import Box, Label, place, text_width
from .verdicts import OBJECTIVES, gate_bound, judged_value, was_measured

_FONT = 11.0
_RADIUS = 5.0
# Of what labels keep clear of: the ring around the winner.
_CLEAR = 8.0
_MOST_LED = 2


@dataclass(frozen=True)
class Marker:
    """A variant in the scatter; shape is Selected, Passed or Rejected."""

    name: str
    shape: str
    x: float
    y: float
    label: Label | None
    values: str


@dataclass(frozen=True)
class Gate:
    """A horizontal line of the scatter with its text."""

    at: float
    text: str
    box: Box


@dataclass(frozen=True)
class Scatter:
    """Speed against quality: further right is faster, further up is closer to the reference.

    Attributes:
        gate: Horizontal; what lies below it is rejected. None without a gate.
        marks: Vertical: the baseline and the smallest speedup that wins.
        numbered: Labels are the numbers of the list below instead of names.
    """

    width: float
    height: float
    plot: Box
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_title: str
    y_title: str
    gate: Gate | None
    marks: list[float]
    markers: list[Marker]
    numbered: bool
    note: str
    radius: float = _RADIUS
    font: float = _FONT

    def x(self, share: float) -> float:
        return self.plot.left + share * (self.plot.right - self.plot.left)

    def y(self, share: float) -> float:
        return self.plot.bottom - share * (self.plot.bottom - self.plot.top)


def scatter(
    result: MeasureResult, gate: QualityGate, *, bounded: bool, objective: Objective, wide: bool
) -> Scatter | None:
    """Return one metric's chart, or None where no variant has both figures.

    Args:
        gate: What to judge by.
        bounded: Whether it is a gate; else only a metric and an aggregate to show.
        wide: With names, for screens that have room; else with numbers.
    """
    shown = [
        (variant, variant.speedup, value)
        for variant in result.everyone
        if was_measured(variant)
        and variant.speedup is not None
        and (value := judged_value(gate, variant.quality)) is not None
    ]
    if not shown:
        return None
    width, height = (760.0, 400.0) if wide else (328.0, 360.0)
    plot = Box(64.0, 12.0, width - 10.0, height - 42.0)
    least = objective.minimum_speedup
    x_axis = from_zero([1.0, least, *(speed for _, speed, _ in shown)], room=1.08)
    bound = gate_bound(gate) if bounded else None
    highest = highest_told_apart(gate.metric, bound)
    y_axis = quality_axis(gate.metric, [min(value, highest) for *_, value in shown], bound)
    falling = gate.metric is QualityMetric.MAX_ABS_ERROR

    def x_of(speed: float) -> float:
        return plot.left + x_axis.share(speed) * (plot.right - plot.left)

    def y_of(value: float) -> float:
        share = y_axis.share(min(value, highest))
        share = 1 - share if falling else share
        return plot.bottom - share * (plot.bottom - plot.top)

    points = [(x_of(speed), y_of(value)) for _, speed, value in shown]
    marks = [x_of(1.0), *([x_of(least)] if least > 1 else [])]
    fixed: list[Box] = []
    gate_line = None
    markers = [Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in points]
    if bound is not None:
        text = f"gate {bound:g}{' dB' if figures.is_decibels(gate.metric) else ''}"
        box = _beside_horizontal(y_of(bound), text, plot, markers)
        gate_line = Gate(y_of(bound), text, box)
        fixed += [box, Box(plot.left, y_of(bound) - 1.5, plot.right, y_of(bound) + 1.5)]
    fixed += [Box(at - 1.5, plot.top, at + 1.5, plot.bottom) for at in marks]
    labels, numbered = _labels(points, [v.name for v, *_ in shown], plot, fixed, wide=wide)
    metric, aggregate = gate.metric, gate.aggregate.lower()
    return Scatter(
        width=width,
        height=height,
        plot=plot,
        x_ticks=x_axis.ticks(6 if wide else 4),
        y_ticks=[Tick(1 - t.share if falling else t.share, t.text) for t in y_axis.ticks(6)],
        x_title=f"times the baseline, {OBJECTIVES[objective.metric]}",
        y_title=f"{aggregate} {metric}{', dB' if figures.is_decibels(metric) else ''}",
        gate=gate_line,
        marks=marks,
        markers=[
            Marker(
                name=variant.name,
                shape="Selected" if variant.name == result.selected else variant.state.value,
                x=x,
                y=y,
                label=label,
                values=f"{figures.ratio(speed)}, "
                + figures.quality(metric, value, exact=_exact(variant, metric)),
            )
            for (variant, speed, value), (x, y), label in zip(shown, points, labels, strict=True)
        ],
        numbered=numbered,
        note=note_above(highest, [value for *_, value in shown]),
    )


def _labels(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    plot: Box,
    fixed: Sequence[Box],
    *,
    wide: bool,
) -> tuple[list[Label | None], bool]:
    """Return names where all of them fit beside their markers, else numbers; and whether so."""
    if wide:
        labels = place(points, names, area=plot, size=_FONT, radius=_CLEAR, obstacles=fixed)
        # Many lines from labels to markers would be harder to follow than numbers.
        if sum(label is None or label.led for label in labels) <= _MOST_LED:
            return labels, False
    texts = [str(number) for number in range(1, len(names) + 1)]
    return place(points, texts, area=plot, size=_FONT, radius=_CLEAR, obstacles=fixed), True


def _exact(variant: VariantResult, metric: QualityMetric) -> bool:
    return any(q.exact for q in variant.quality if q.metric is metric)


def _beside_horizontal(y: float, text: str, plot: Box, taken: Sequence[Box]) -> Box:
    width, height = text_width(text, _FONT), _FONT * 1.25
    lefts = range(int(plot.right - width - 2), int(plot.left) + 2, -8)
    boxes = [
        Box(left, top, left + width, top + height)
        for left in lefts
        for top in (y + 3, y - 3 - height)
    ]
    free = (b for b in boxes if plot.holds(b) and not any(map(b.overlaps, taken)))
    return next(free, boxes[0])
