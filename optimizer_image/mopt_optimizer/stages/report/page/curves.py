"""Throughput against latency under load, one small drawing per form on common axes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.constraints import bound_text, keeps
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import Latency
from mopt_api.jobs.load_result import LoadTrial
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.objective import LATENCIES, Constraint, Objective

from . import figures
from .axes import Axis, Tick, from_zero
from .labels import Box

_WIDTH, _HEIGHT = 328.0, 230.0
_PLOT = Box(50.0, 10.0, _WIDTH - 12.0, _HEIGHT - 38.0)


@dataclass(frozen=True)
class Dot:
    """A trial; kept is whether it kept the bound."""

    x: float
    y: float
    kept: bool


@dataclass(frozen=True)
class Curve:
    """One form's trials.

    Attributes:
        line: Corners of the curve of the configuration that was chosen.
        text: That configuration and its figures, for people.
    """

    name: str
    chosen: bool
    line: str
    dots: list[Dot]
    text: str


@dataclass(frozen=True)
class Curves:
    """Every form's curve.

    Attributes:
        most: Height of the bound on latency; None where there is none, or beyond the drawing.
        least: Where the bound on throughput lies; None likewise.
    """

    x_title: str
    y_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    most: float | None
    least: float | None
    bounds: str
    curves: list[Curve]
    width: float = _WIDTH
    height: float = _HEIGHT
    plot: Box = _PLOT

    def x(self, share: float) -> float:
        return _PLOT.left + share * (_PLOT.right - _PLOT.left)

    def y(self, share: float) -> float:
        return _PLOT.bottom - share * (_PLOT.bottom - _PLOT.top)


def load_curves(result: MeasureResult, objective: Objective) -> Curves | None:
    """Return the curves of all forms that load was put on, or None where there was none."""
    tried = [(v, v.load_search.trials) for v in result.everyone if v.load_search is not None]
    trials = [trial for _, each in tried for trial in each]
    if not trials:
        return None
    bound = objective.bound(LATENCIES)
    metric = bound.metric if bound else ObjectiveMetric.LATENCY_P99
    least = objective.bound([ObjectiveMetric.THROUGHPUT])
    latencies = [_latency(trial.latency_ms, metric) for trial in trials]
    rates = from_zero([trial.throughput for trial in trials])
    times = from_zero([*latencies, *([bound.limit] if bound and bound.limit else [])])
    plane = Curves(
        x_title="samples per second",
        y_title=f"{metric.removeprefix('Latency').lower()}, ms",
        x_ticks=rates.ticks(4),
        y_ticks=times.ticks(4),
        most=None,
        least=None,
        bounds=", ".join(bound_text(each) for each in (bound, least) if each),
        curves=[],
    )
    within = least is not None and rates.low <= least.limit <= rates.high
    return Curves(
        **{
            **vars(plane),
            "most": plane.y(times.share(bound.limit)) if bound and bound.limit else None,
            "least": plane.x(rates.share(least.limit)) if least and within else None,
            "curves": [
                _curve(v, each, plane, rates, times, metric, bound, result.selected)
                for v, each in tried
                if each
            ],
        }
    )


def _latency(latency: Latency, metric: ObjectiveMetric) -> float:
    return {
        ObjectiveMetric.LATENCY_P50: latency.p50,
        ObjectiveMetric.LATENCY_P90: latency.p90,
    }.get(metric, latency.p99)


def _curve(
    variant: VariantResult,
    trials: Sequence[LoadTrial],
    plane: Curves,
    rates: Axis,
    times: Axis,
    metric: ObjectiveMetric,
    bound: Constraint | None,
    selected: str | None,
) -> Curve:
    def dot(trial: LoadTrial) -> Dot:
        value = _latency(trial.latency_ms, metric)
        kept = trial.valid and (bound is None or keeps(bound, value))
        return Dot(plane.x(rates.share(trial.throughput)), plane.y(times.share(value)), kept)

    serving = variant.load.serving if variant.load else None
    along = sorted(
        (t for t in trials if t.serving == serving), key=lambda t: (t.throughput, t.latency_ms.p99)
    )
    corners = " ".join(f"{d.x:.1f},{d.y:.1f}" for d in map(dot, along))
    return Curve(
        variant.name, variant.name == selected, corners, [*map(dot, trials)], _text(variant)
    )


def _text(variant: VariantResult) -> str:
    load = variant.load
    if load is None:
        said = variant.load_search.message if variant.load_search else None
        return said or "no configuration was found"
    rate, p99 = figures.significant(load.throughput), figures.milliseconds(load.latency_ms.p99)
    return f"{load.serving.in_words}: {rate} /s, p99 {p99}"
