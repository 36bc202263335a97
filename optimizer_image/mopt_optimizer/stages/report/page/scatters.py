"""Geometry of the chart of speed against quality; the template draws it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.enums import QualityMetric
from mopt_api.jobs.gates import judged_value
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.metrics import METRICS, bound_in_words, decibels, metric_in_words
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate

from . import figures
from .axes import Axis, Tick, from_zero, highest_told_apart, note_above, quality_axis
from .frontier import Form, forms, frontier, prices
from .labels import Box, Label, place, text_width
from .verdicts import OBJECTIVES, gate_bound, shown_state, was_measured

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
        frontier: Corners of the line along the fastest form at each quality; empty without a gate.
        prices: What another gate would cost, and bring.
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
    frontier: str
    prices: list[str]
    markers: list[Marker]
    numbered: bool
    note: str
    radius: float = _RADIUS
    font: float = _FONT

    def x(self, share: float) -> float:
        return self.plot.left + share * (self.plot.right - self.plot.left)

    def y(self, share: float) -> float:
        return self.plot.bottom - share * (self.plot.bottom - self.plot.top)


@dataclass(frozen=True)
class _Shown:
    """A variant with both figures."""

    variant: VariantResult
    speedup: float
    quality: float


@dataclass(frozen=True)
class _Plane:
    """Where figures lie in the plot.

    Attributes:
        highest: Quality above which the chart tells none apart.
        falling: Smaller values are better, and lie further up.
    """

    plot: Box
    speedups: Axis
    qualities: Axis
    highest: float
    falling: bool

    def x(self, speedup: float) -> float:
        share = self.speedups.share(speedup)
        return self.plot.left + share * (self.plot.right - self.plot.left)

    def y(self, quality: float) -> float:
        share = self._upwards(self.qualities.share(min(quality, self.highest)))
        return self.plot.bottom - share * (self.plot.bottom - self.plot.top)

    def y_ticks(self) -> list[Tick]:
        return [Tick(self._upwards(tick.share), tick.text) for tick in self.qualities.ticks(6)]

    def _upwards(self, share: float) -> float:
        return 1 - share if self.falling else share


def scatter(
    result: MeasureResult,
    gate: QualityGate,
    gates: Sequence[QualityGate],
    *,
    objective: Objective,
    wide: bool,
) -> Scatter | None:
    """Return one metric's chart, or None where no variant has both figures.

    Args:
        gate: What to judge by; where it is none of the gates, only a metric and an aggregate.
        gates: All of them.
        wide: With names, for screens that have room; else with numbers.
    """
    shown = _shown(result, gate)
    if not shown:
        return None
    width, height = (760.0, 400.0) if wide else (328.0, 360.0)
    least, metric = objective.minimum_speedup, gate.metric
    bounded = gate in gates
    bound = gate_bound(gate) if bounded else None
    eligible = forms(result, gate, gates) if bounded else []
    plane = _plane(shown, Box(64.0, 12.0, width - 10.0, height - 42.0), metric, least, bound)
    points = [(plane.x(s.speedup), plane.y(s.quality)) for s in shown]
    marks = [plane.x(1.0), *([plane.x(least)] if least > 1 else [])]
    gate_line = None if bound is None else _gate_line(metric, bound, plane, points)
    taken = _lines(plane.plot, marks, gate_line)
    names = [s.variant.name for s in shown]
    labels, numbered = _labels(points, names, plane.plot, taken, wide=wide)
    return Scatter(
        width=width,
        height=height,
        plot=plane.plot,
        x_ticks=plane.speedups.ticks(6 if wide else 4),
        y_ticks=plane.y_ticks(),
        x_title=f"times the baseline, {OBJECTIVES[objective.metric]}",
        y_title=", ".join(filter(None, (f"{gate.aggregate.lower()} {metric}", decibels(metric)))),
        gate=gate_line,
        marks=marks,
        frontier=_stairs(frontier(eligible), plane),
        prices=prices(eligible, result.selected),
        markers=[
            _marker(one, point, label, metric, result.selected)
            for one, point, label in zip(shown, points, labels, strict=True)
        ],
        numbered=numbered,
        note=note_above(plane.highest, [s.quality for s in shown]),
    )


def _stairs(steps: Sequence[Form], plane: _Plane) -> str:
    """Return the corners from the fastest form upwards: each step leads to a slower, closer one."""
    corners, at = [], plane.plot.bottom
    for step in steps:
        x, y = plane.x(step.speedup), plane.y(-step.closeness if plane.falling else step.closeness)
        corners += [(x, at), (x, y)]
        at = y
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _shown(result: MeasureResult, gate: QualityGate) -> list[_Shown]:
    return [
        _Shown(variant, variant.speedup, value)
        for variant in result.everyone
        if was_measured(variant)
        and variant.speedup is not None
        and (value := judged_value(gate, variant.quality)) is not None
    ]


def _plane(
    shown: Sequence[_Shown], plot: Box, metric: QualityMetric, least: float, bound: float | None
) -> _Plane:
    highest = highest_told_apart(metric, bound)
    return _Plane(
        plot=plot,
        speedups=from_zero([1.0, least, *(s.speedup for s in shown)], room=1.08),
        qualities=quality_axis(metric, [min(s.quality, highest) for s in shown], bound),
        highest=highest,
        falling=not METRICS[metric].higher_is_better,
    )


def _gate_line(
    metric: QualityMetric, bound: float, plane: _Plane, points: Sequence[tuple[float, float]]
) -> Gate:
    markers = [Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in points]
    at, text = plane.y(bound), f"gate {bound_in_words(metric, bound)}"
    return Gate(at, text, _beside_horizontal(at, text, plane.plot, markers))


def _lines(plot: Box, marks: Sequence[float], gate: Gate | None) -> list[Box]:
    """Return what labels must not cover: the gate, its text, and the marks."""
    taken = [Box(at - 1.5, plot.top, at + 1.5, plot.bottom) for at in marks]
    if gate is not None:
        taken += [gate.box, Box(plot.left, gate.at - 1.5, plot.right, gate.at + 1.5)]
    return taken


def _marker(
    shown: _Shown,
    point: tuple[float, float],
    label: Label | None,
    metric: QualityMetric,
    selected: str | None,
) -> Marker:
    variant = shown.variant
    quality = metric_in_words(metric, shown.quality, exact=_exact(variant, metric))
    return Marker(
        name=variant.name,
        shape=shown_state(variant, selected),
        x=point[0],
        y=point[1],
        label=label,
        values=f"{figures.ratio(shown.speedup)}, {quality}",
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
