"""The figures that objectives and constraints compare, and how a form stands to constraints. Pure.

With benchmark.load a constraint on a latency or on Throughput is about figures under load. The
objective's own latency is always that of one call after the other: under load each form is at a
rate of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .enums import ObjectiveMetric
from .figures import Latency, LoadFigures
from .objective import LATENCIES, Constraint
from .quantities import significant

_UNITS = {1: "B", 2**10: "KiB", 2**20: "MiB", 2**30: "GiB"}


@dataclass(frozen=True)
class Figures:
    """Figures of a form; None where one is not known.

    Attributes:
        latency_ms, throughput: Of one call after the other, at the objective's point.
        load: Under load.
    """

    latency_ms: Latency | None = None
    throughput: float | None = None
    size_bytes: int | None = None
    peak_memory_bytes: int | None = None
    load: LoadFigures | None = None

    @property
    def best_throughput(self) -> float | None:
        """Samples per second: under load where that was measured."""
        return self.load.throughput if self.load else self.throughput

    def cost(self, metric: ObjectiveMetric, *, under_load: bool = False) -> float | None:
        """Return a positive figure that is smaller for a better form, or None if not known.

        Its unit is the metric's: milliseconds, bytes, or seconds per sample of Throughput and,
        as on one kind of hardware the price is the same, of CostPerMillion.

        Args:
            under_load: A throughput of single calls does not count: others are under load.
        """
        if metric in LATENCIES:
            return _percentile(self.latency_ms, metric)
        if metric in (ObjectiveMetric.THROUGHPUT, ObjectiveMetric.COST_PER_MILLION):
            known = self.load or not under_load
            return 1 / self.best_throughput if self.best_throughput and known else None
        size = self.size_bytes if metric is ObjectiveMetric.SIZE_BYTES else self.peak_memory_bytes
        return float(size) if size else None

    def bounded(self, metric: ObjectiveMetric, *, under_load: bool) -> float | None:
        """Return the figure that a constraint bounds, or None if not known; CostPerMillion depends
        on a price, which is no figure of a form."""
        load = self.load
        if metric in LATENCIES:
            latency = (load.latency_ms if load else None) if under_load else self.latency_ms
            return _percentile(latency, metric)
        if metric is ObjectiveMetric.THROUGHPUT:
            return (load.throughput if load else None) if under_load else self.throughput
        size = self.size_bytes if metric is ObjectiveMetric.SIZE_BYTES else self.peak_memory_bytes
        return None if size is None else float(size)


class Shown(Protocol):
    """A form as a termination message or status has it: at the objective's point."""

    @property
    def name(self) -> str: ...

    @property
    def latency_ms(self) -> Latency | None: ...

    @property
    def throughput(self) -> float | None: ...

    @property
    def size_bytes(self) -> int | None: ...

    @property
    def peak_memory_bytes(self) -> int | None: ...

    @property
    def load(self) -> LoadFigures | None: ...


def shown_figures(form: Shown) -> Figures:
    """Return the figures of a form as it is reported."""
    return Figures(
        latency_ms=form.latency_ms,
        throughput=form.throughput,
        size_bytes=form.size_bytes,
        peak_memory_bytes=form.peak_memory_bytes,
        load=form.load,
    )


def _percentile(latency: Latency | None, metric: ObjectiveMetric) -> float | None:
    if latency is None:
        return None
    return {
        ObjectiveMetric.LATENCY_P50: latency.p50,
        ObjectiveMetric.LATENCY_P90: latency.p90,
        ObjectiveMetric.LATENCY_P99: latency.p99,
    }[metric]


@dataclass(frozen=True)
class Miss:
    """A constraint that a form does not keep.

    Attributes:
        value: The form's; None where it is not known.
    """

    constraint: Constraint
    value: float | None
    under_load: bool = False

    @property
    def excess(self) -> float:
        """How many times the bound it is, or of a minimum the bound is the figure: above 1."""
        limit, value = self.constraint.limit, self.value
        if value is None:
            return math.inf
        over, under = (limit, value) if self.constraint.minimum is not None else (value, limit)
        return over / under if under else math.inf

    def __str__(self) -> str:
        metric, least = self.constraint.metric, self.constraint.minimum
        loaded = self.under_load and metric in (*LATENCIES, ObjectiveMetric.THROUGHPUT)
        name = f"{metric} under load" if loaded else metric.value
        if self.value is None:
            return f"{name} was not measured"
        shown = f"{name} {value_text(metric, self.value)}"
        if least is not None:
            share = f"{significant(100 * (1 - 1 / self.excess))} % " if self.value else ""
            return f"{shown} is {share}below {least}"
        share = f"{significant(100 * (self.excess - 1))} % " if self.constraint.limit else ""
        return f"{shown} is {share}above {self.constraint.maximum}"


def value_text(metric: ObjectiveMetric, value: float) -> str:
    """Return a figure with its unit, for people."""
    if metric in LATENCIES:
        return f"{significant(value)} ms"
    if metric is ObjectiveMetric.THROUGHPUT:
        return f"{significant(value)}/s"
    if metric is ObjectiveMetric.COST_PER_MILLION:
        return significant(value)
    unit = max((size for size in _UNITS if value >= size), default=1)
    return f"{significant(value / unit)} {_UNITS[unit]}"


def bound_text(constraint: Constraint) -> str:
    """Return a constraint for people: LatencyP99 ≤ 50ms."""
    if constraint.minimum is not None:
        return f"{constraint.metric} ≥ {constraint.minimum}/s"
    return f"{constraint.metric} ≤ {constraint.maximum}"


def misses(figures: Figures, constraints: Iterable[Constraint], *, under_load: bool) -> list[Miss]:
    """Return the constraints that a form does not keep, as far as no price decides.

    A figure that is not known keeps none.

    Args:
        under_load: Whether benchmark.load asks for figures under load.
    """
    found = []
    for constraint in constraints:
        if constraint.metric is ObjectiveMetric.COST_PER_MILLION:
            continue
        value = figures.bounded(constraint.metric, under_load=under_load)
        if value is None or not keeps(constraint, value):
            found.append(Miss(constraint, value, under_load))
    return found


def keeps(constraint: Constraint, value: float) -> bool:
    """Return whether a figure is within a bound; NaN never is."""
    return (
        value >= constraint.limit if constraint.minimum is not None else value <= constraint.limit
    )


def missed_by(
    forms: Iterable[Shown], constraints: Sequence[Constraint], *, under_load: bool
) -> dict[str, list[Miss]]:
    """Return the forms that do not keep every constraint, by name, with what each misses."""
    found = {
        form.name: misses(shown_figures(form), constraints, under_load=under_load) for form in forms
    }
    return {name: missed for name, missed in found.items() if missed}


def nearest(missed: Mapping[str, Sequence[Miss]]) -> str | None:
    """Return the name of the form whose worst miss is the least; None where none misses any.

    Args:
        missed: By the form's name. Of equals the first is taken.
    """
    far = {name: max(miss.excess for miss in each) for name, each in missed.items() if each}
    return min(far, key=lambda name: far[name], default=None)
