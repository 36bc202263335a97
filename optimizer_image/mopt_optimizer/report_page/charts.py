"""Geometry of the page's charts; the templates draw them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.result import MeasureResult, VariantResult, VariantState
from mopt_api.spec import Objective, QualityGate

from . import figures
from .axes import Axis, Tick, around, from_zero
from .labels import Box, Label, place, text_width
from .verdicts import OBJECTIVES, at_point, gate_bound, judged_value, was_measured

# Nobody sees a difference above this; FP32 runtimes lie there, and would flatten the rest.
_DECIBELS_SHOWN = 80.0
_DECIBELS_ABOVE_GATE = 20.0
_FONT = 11.0
_RADIUS = 5.0
# Of what labels keep clear of: the ring around the winner.
_CLEAR = 8.0
_MOST_DOTS = 100


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
class Line:
    """A straight line of the scatter with its text."""

    at: float
    text: str
    box: Box


@dataclass(frozen=True)
class Scatter:
    """Speed against quality: further right is faster, further up is closer to FP32.

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
    gate: Line | None
    marks: list[Line]
    markers: list[Marker]
    numbered: bool
    radius: float = _RADIUS
    font: float = _FONT

    def x(self, share: float) -> float:
        return self.plot.left + share * (self.plot.right - self.plot.left)

    def y(self, share: float) -> float:
        return self.plot.bottom - share * (self.plot.bottom - self.plot.top)


def quality_axis(metric: QualityMetric, values: Sequence[float], bound: float | None) -> Axis:
    """Return an axis that holds values and the gate, dB above what can be seen left out."""
    everything = [*values, *([] if bound is None else [bound])]
    if metric is QualityMetric.MAX_ABS_ERROR:
        everything.append(0.0)
    if figures.is_decibels(metric):
        top = max(_DECIBELS_SHOWN, (bound or 0.0) + _DECIBELS_ABOVE_GATE)
        # A little above what is told apart, so that the rest stands apart from it.
        everything = [value if value <= top else top + 2 for value in everything]
    return around(everything)


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
        for variant in result.variants
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
    y_axis = quality_axis(gate.metric, [value for *_, value in shown], bound)
    falling = gate.metric is QualityMetric.MAX_ABS_ERROR

    def x_of(speed: float) -> float:
        return plot.left + x_axis.share(speed) * (plot.right - plot.left)

    def y_of(value: float) -> float:
        share = 1 - y_axis.share(value) if falling else y_axis.share(value)
        return plot.bottom - share * (plot.bottom - plot.top)

    points = [(x_of(speed), y_of(value)) for _, speed, value in shown]
    lines = [("baseline", x_of(1.0))] + (
        [(f"minimum {least:g}x", x_of(least))] if least > 1 else []
    )
    fixed: list[Box] = []
    gate_line = None
    markers = [Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in points]
    if bound is not None:
        text = f"gate {bound:g}{' dB' if figures.is_decibels(gate.metric) else ''}"
        box = _beside_horizontal(y_of(bound), text, plot, markers)
        gate_line = Line(y_of(bound), text, box)
        fixed += [box, Box(plot.left, y_of(bound) - 1.5, plot.right, y_of(bound) + 1.5)]
    fixed += [Box(at - 1.5, plot.top, at + 1.5, plot.bottom) for _, at in lines]
    marks = []
    for text, at in lines:
        marks.append(Line(at, text, _beside_vertical(at, text, plot, [*markers, *fixed])))
        fixed.append(marks[-1].box)
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
        if all(label is not None and not label.led for label in labels):
            return labels, False
    texts = [str(number) for number in range(1, len(names) + 1)]
    return place(points, texts, area=plot, size=_FONT, radius=_CLEAR, obstacles=fixed), True


def _exact(variant: VariantResult, metric: QualityMetric) -> bool:
    return any(q.exact for q in variant.quality if q.metric is metric)


def _free(boxes: Sequence[Box], taken: Sequence[Box], plot: Box) -> Box:
    """Return the first box that lies in the plot and covers nothing; else the first."""
    return next(
        (b for b in boxes if plot.holds(b) and not any(b.overlaps(t) for t in taken)), boxes[0]
    )


def _beside_horizontal(y: float, text: str, plot: Box, taken: Sequence[Box]) -> Box:
    width, height = text_width(text, _FONT), _FONT * 1.25
    lefts = range(int(plot.right - width - 2), int(plot.left) + 2, -8)
    boxes = [
        Box(left, top, left + width, top + height)
        for left in lefts
        for top in (y + 3, y - 3 - height)
    ]
    return _free(boxes, taken, plot)


def _beside_vertical(x: float, text: str, plot: Box, taken: Sequence[Box]) -> Box:
    width, height = text_width(text, _FONT), _FONT * 1.25
    tops = range(int(plot.bottom - height - 3), int(plot.top) + 2, -8)
    boxes = [
        Box(left, top, left + width, top + height)
        for top in tops
        for left in (x + 3, x - 3 - width)
    ]
    return _free(boxes, taken, plot)


@dataclass(frozen=True)
class Strip:
    """One variant's row: positions are percentages of the row's length, as SVG has them.

    Attributes:
        whisker, box: Start and end; None where quantiles are not known.
        dots: Single values.
    """

    name: str
    chosen: bool
    text: str
    whisker: tuple[str, str] | None = None
    box: tuple[str, str] | None = None
    middle: str | None = None
    end: str | None = None
    dots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Strips:
    """Rows on a common axis."""

    title: str
    ticks: list[Tick]
    rows: list[Strip]
    gate: str | None = None
    note: str = ""


def latency_strips(result: MeasureResult, point: str) -> Strips | None:
    """Return how the calls at a point spread, or None where nothing was measured there."""
    measured = [
        (variant, found)
        for variant in (result.baseline, *result.variants)
        if (found := at_point(variant, point)) is not None
    ]
    if not measured:
        return None
    axis = from_zero(
        [value for _, p in measured for value in (p.latency_ms.p50, p.latency_ms.p99)]
        + [value for _, p in measured for value in p.quantiles_ms[1:2]]
    )
    rows = []
    for variant, found in measured:
        spread, times = found.quantiles_ms, found.latency_ms
        rows.append(
            Strip(
                name=variant.name,
                chosen=variant.name == result.selected,
                whisker=(axis.percent(spread[1]), axis.percent(spread[-2])) if spread else None,
                box=(axis.percent(spread[5]), axis.percent(spread[15])) if spread else None,
                middle=axis.percent(times.p50),
                end=axis.percent(times.p99),
                text=f"p50 {figures.significant(times.p50)}, p90 {figures.significant(times.p90)}, "
                f"p99 {figures.significant(times.p99)} ms; {found.runs} calls, spread "
                f"{found.coefficient_of_variation:.0%}",
            )
        )
    sizes = ", ".join(f"{k} {v}" for k, v in measured[0][1].dimensions.items())
    return Strips(f"{point}{f' ({sizes})' if sizes else ''}", axis.ticks(), rows)


def quality_strips(
    result: MeasureResult, metric: QualityMetric, gate: QualityGate | None
) -> Strips | None:
    """Return each sample's value of a metric, or None where none is known.

    Args:
        gate: Drawn, where it judges single samples (aggregate Worst).
    """
    measured = [
        (variant, q)
        for variant in result.variants
        for q in variant.quality
        if q.metric is metric and q.per_sample and was_measured(variant)
    ]
    if not measured:
        return None
    bound = gate_bound(gate) if gate is not None and gate.aggregate is Aggregate.WORST else None
    axis = quality_axis(metric, [v for _, q in measured for v in q.per_sample or ()], bound)
    rows = []
    for variant, q in measured:
        values = q.per_sample or []
        worst = values.index(q.worst) if q.worst in values else None
        name = _sample_name(result, worst)
        rows.append(
            Strip(
                name=variant.name,
                chosen=variant.name == result.selected,
                dots=tuple(axis.percent(value) for value in _thinned(values)),
                text=f"worst {figures.quality(metric, q.worst, exact=q.exact)}"
                f"{f' ({name})' if name and not q.exact else ''}, "
                f"mean {figures.quality(metric, q.mean, exact=q.exact)}",
            )
        )
    above = figures.is_decibels(metric) and any(q.worst > axis.high for _, q in measured)
    return Strips(
        title=f"{metric}{', dB' if figures.is_decibels(metric) else ''}",
        ticks=axis.ticks(),
        rows=rows,
        gate=None if bound is None else axis.percent(bound),
        note=f"Values above {axis.high:.0f} dB are drawn at the right edge." if above else "",
    )


def _thinned(values: Sequence[float]) -> list[float]:
    """Return at most _MOST_DOTS of the values, the extremes among them."""
    ordered = sorted(values)
    if len(ordered) <= _MOST_DOTS:
        return ordered
    last = len(ordered) - 1
    return [ordered[round(i * last / (_MOST_DOTS - 1))] for i in range(_MOST_DOTS)]


def _sample_name(result: MeasureResult, index: int | None) -> str:
    names = result.evaluation_names
    return names[index] if index is not None and index < len(names) else ""


@dataclass(frozen=True)
class Bar:
    """A length among others, in percent of the longest."""

    name: str
    chosen: bool
    length: str
    text: str


def bars(
    values: Sequence[tuple[str, float]], text: Callable[[float], str], chosen: str | None = None
) -> list[Bar]:
    """Return named values as bars."""
    longest = max((value for _, value in values), default=0.0) or 1.0
    return [
        Bar(name, name == chosen, f"{100 * value / longest:.2f}%", text(value))
        for name, value in values
    ]


def shown_state(variant: VariantResult, selected: str | None) -> str:
    """Return a variant's state, Selected where it won."""
    return "Selected" if variant.name == selected else variant.state.value


def is_lost(state: str) -> bool:
    """Return whether a state means that the variant cannot be served."""
    return state in (VariantState.REJECTED, VariantState.FAILED, VariantState.SKIPPED)
