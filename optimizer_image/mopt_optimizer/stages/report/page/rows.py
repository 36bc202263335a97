"""Charts of one row per variant: positions are percentages, so they fit any width. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.jobs.measure_result import LATENCY_QUANTILES, MeasureResult, PointResult
from mopt_api.metrics import decibels, metric_in_words
from mopt_api.spec import QualityGate

from . import figures
from .axes import Axis, Tick, from_zero, highest_told_apart, note_above, quality_axis
from .verdicts import gate_bound, was_measured

_MOST_DOTS = 100


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
        (variant, found) for variant in result.everyone if (found := variant.at(point)) is not None
    ]
    if not measured:
        return None
    axis = latency_axis([found for _, found in measured])
    rows = [
        latency_strip(found, axis, name=variant.name, chosen=variant.name == result.selected)
        for variant, found in measured
    ]
    sizes = ", ".join(f"{k} {v}" for k, v in measured[0][1].dimensions.items())
    return Strips(f"{point}{f' ({sizes})' if sizes else ''}", axis.ticks(), rows)


def latency_axis(measured: Sequence[PointResult]) -> Axis:
    """Return an axis that holds the latencies of calls at one or more points."""
    return from_zero(
        [value for p in measured for value in (p.latency_ms.p50, p.latency_ms.p99)]
        + [value for p in measured for value in _spread(p)[1:2]]
    )


def latency_strip(found: PointResult, axis: Axis, *, name: str, chosen: bool) -> Strip:
    """Return how a form's calls spread, as a row."""
    spread, times = _spread(found), found.latency_ms
    return Strip(
        name=name,
        chosen=chosen,
        whisker=(axis.percent(spread[1]), axis.percent(spread[-2])) if spread else None,
        box=(axis.percent(spread[5]), axis.percent(spread[15])) if spread else None,
        middle=axis.percent(times.p50),
        end=axis.percent(times.p99),
        text=f"p50 {figures.significant(times.p50)}, p90 {figures.significant(times.p90)}, "
        f"p99 {figures.significant(times.p99)} ms; {found.runs} calls, spread "
        f"{found.coefficient_of_variation:.0%}",
    )


def _spread(found: PointResult) -> list[float]:
    """Return the quantiles of the calls; none where a result of another version has others."""
    return found.quantiles_ms if len(found.quantiles_ms) == LATENCY_QUANTILES else []


def quality_strips(
    result: MeasureResult, metric: QualityMetric, gate: QualityGate | None
) -> Strips | None:
    """Return each sample's value of a metric, or None where none is known.

    Args:
        gate: Drawn, where it judges single samples (aggregate Worst).
    """
    measured = [
        (variant, q)
        for variant in result.everyone
        for q in variant.quality
        if q.metric is metric and q.per_sample and was_measured(variant)
    ]
    if not measured:
        return None
    bound = gate_bound(gate) if gate is not None and gate.aggregate is Aggregate.WORST else None
    highest = highest_told_apart(metric, bound)
    everything = [min(v, highest) for _, q in measured for v in q.per_sample or ()]
    axis = quality_axis(metric, everything, bound)
    rows = []
    for variant, q in measured:
        values = q.per_sample or []
        worst = values.index(q.worst) if q.worst in values else None
        named = (_sample_name(result, worst), q.slice, q.output, q.part)
        where = ", ".join(part for part in named if part)
        rows.append(
            Strip(
                name=variant.name,
                chosen=variant.name == result.selected,
                dots=tuple(axis.percent(min(value, highest)) for value in _thinned(values)),
                text=f"worst {metric_in_words(metric, q.worst, exact=q.exact)}"
                f"{f' ({where})' if where and not q.exact else ''}, "
                f"mean {metric_in_words(metric, q.mean, exact=q.exact)}",
            )
        )
    return Strips(
        title=", ".join(filter(None, (metric, decibels(metric)))),
        ticks=axis.ticks(),
        rows=rows,
        gate=None if bound is None else axis.percent(bound),
        note=note_above(highest, [v for _, q in measured for v in q.per_sample or ()]),
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
