"""The rules and descriptions of a gate that follow from the rows of the metrics.

CEL and texts name the metrics that have a row when this is imported, as the CRD does; bound_fault
holds those that an extension adds later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .base import Rule
from .enums import Aggregate, QualityMetric
from .metrics import METRICS, MetricInfo, listed, names


class Bounded(Protocol):
    """A gate: a metric and its bound."""

    @property
    def metric(self) -> QualityMetric: ...

    @property
    def minimum(self) -> float | None: ...

    @property
    def maximum(self) -> float | None: ...


LOWER = listed(names(higher_is_better=False))
"""Metrics whose gates have a maximum, for texts."""


def meanings() -> str:
    """Return in a sentence what the values of each metric are; those with a maximum come last."""
    ordered = names(higher_is_better=True) + names(higher_is_better=False)
    grouped: dict[str, list[QualityMetric]] = {}
    for metric in ordered:
        grouped.setdefault(METRICS[metric].meaning, []).append(metric)
    parts = [f"{listed(found, 'or')}{meaning}" for meaning, found in grouped.items()]
    return f"{'; '.join(parts[:-1])}; or {parts[-1]}."


def bound_rules() -> tuple[Rule, ...]:
    """Return which bound a gate of each metric has, and between what it lies."""
    known, lower = frozenset(METRICS), names(higher_is_better=False)
    direction = Rule(
        f"({_is(lower)}) == has(self.maximum)",
        f"{listed(lower)} takes maximum, every other metric minimum",
        lambda g: g.metric not in known or _directed(g, METRICS[g.metric]),
    )
    bounded: dict[tuple[float, float], list[QualityMetric]] = {}
    for metric, info in METRICS.items():
        if info.bounds is not None:
            bounded.setdefault(info.bounds, []).append(metric)
    return direction, _single(), *(_within(bounds, found) for bounds, found in bounded.items())


def _single() -> Rule:
    together = [metric for metric, info in METRICS.items() if info.over_set]
    return Rule(
        f"{_is_not(together)} || self.aggregate != '{Aggregate.TOLERANCE}'",
        f"{listed(together)} is of all samples together: aggregate {Aggregate.TOLERANCE} is for "
        "metrics of single samples",
        lambda g: g.metric not in together or g.aggregate is not Aggregate.TOLERANCE,
    )


def bound_fault(gate: Bounded) -> str | None:
    """Return what is wrong with a gate's bound, or None; for every metric that has a row."""
    info = METRICS[gate.metric]
    if not _directed(gate, info):
        return f"{gate.metric} takes {'minimum' if info.higher_is_better else 'maximum'}"
    return None if _fits(gate, info) else _between([gate.metric], info)


def _within(bounds: tuple[float, float], metrics: Sequence[QualityMetric]) -> Rule:
    low, high = bounds
    return Rule(
        f"{_is_not(metrics)} || !has(self.minimum) || "
        f"(self.minimum >= {low:.1f} && self.minimum <= {high:.1f})",
        _between(metrics, METRICS[metrics[0]]),
        lambda g: g.metric not in metrics or _fits(g, METRICS[g.metric]),
    )


def _directed(gate: Bounded, info: MetricInfo) -> bool:
    return info.higher_is_better == (gate.maximum is None)


def _fits(gate: Bounded, info: MetricInfo) -> bool:
    if info.bounds is None or gate.minimum is None:
        return True
    return info.bounds[0] <= gate.minimum <= info.bounds[1]


def _between(metrics: Sequence[QualityMetric], info: MetricInfo) -> str:
    low, high = info.bounds or (0.0, 0.0)
    lies = "is a share" if info.unit == "%" else "lies"
    return f"minimum of {listed(metrics)} {lies} from {low:g} to {high:g}"


def _is(metrics: Sequence[QualityMetric]) -> str:
    if len(metrics) == 1:
        return f"self.metric == '{metrics[0]}'"
    return f"self.metric in [{', '.join(repr(str(metric)) for metric in metrics)}]"


def _is_not(metrics: Sequence[QualityMetric]) -> str:
    if len(metrics) == 1:
        return f"self.metric != '{metrics[0]}'"
    return f"!({_is(metrics)})"


_SAME_OUTPUT = "(has(g.output) ? g.output : '') == (has(h.output) ? h.output : '')"
_SAME_SLICE = "(has(g.slice) ? g.slice.name : '') == (has(h.slice) ? h.slice.name : '')"


def gate_rules() -> tuple[Rule, ...]:
    """Return the rules between the gates of one resource."""
    return (
        Rule(
            "!has(self.quality) || self.quality.all(g, self.quality.exists_one(h, "
            f"g.metric == h.metric && g.aggregate == h.aggregate && {_SAME_OUTPUT} && "
            f"{_SAME_SLICE}))",
            "Duplicate value in quality: two gates on one metric, aggregate, output and slice",
            lambda s: len({(g.metric, g.aggregate, *g.part) for g in s.quality}) == len(s.quality),
        ),
        Rule(
            "!has(self.quality) || self.quality.all(g, self.quality.all(h, "
            f"g.metric != h.metric || !({_SAME_OUTPUT}) || !({_SAME_SLICE}) || "
            "g.dataRange == h.dataRange))",
            "two gates on one metric need the same dataRange",
            lambda s: (
                len({(g.metric, *g.part, g.data_range) for g in s.quality})
                == len({(g.metric, *g.part) for g in s.quality})
            ),
        ),
        Rule(
            "!has(self.quality) || self.quality.all(g, self.quality.all(h, !has(g.slice) || "
            f"!has(h.slice) || g.slice.name != h.slice.name || !({_SAME_OUTPUT}) || "
            "(g.slice.axis == h.slice.axis && g.slice.range == h.slice.range)))",
            "two slices of one name need the same axis and range",
            lambda s: (
                len({(g.part, g.slice.axis, *g.slice.range) for g in s.quality if g.slice})
                == len({g.part for g in s.quality if g.slice})
            ),
        ),
    )
