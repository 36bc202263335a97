"""How close a form has to be: five gates for each kind of output, and the figures shown. Pure.

A gate is named by the decibels that it is for a picture; other outputs have gates of their own of
that name, from lenient to strict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.metrics import METRICS, metric_in_words
from mopt_api.spec import QualityGate

RUNGS = ("30", "35", "40", "45", "50")
MIDDLE = "40"
_SHARES = (0.95, 0.98, 0.99, 0.995, 1.0)
_LADDERS: dict[QualityMetric, tuple[Aggregate, tuple[float, ...]]] = {
    QualityMetric.PSNR: (Aggregate.WORST, (30, 35, 40, 45, 50)),
    QualityMetric.COSINE: (Aggregate.WORST, (0.99, 0.995, 0.999, 0.9995, 0.9999)),
    # Of one sample, or of a few boxes, nothing but all or nothing can be asked.
    QualityMetric.TOP1_AGREEMENT: (Aggregate.MEAN, _SHARES),
    QualityMetric.DETECTION_F1: (Aggregate.MEAN, _SHARES),
    QualityMetric.SEQUENCE_AGREEMENT: (Aggregate.MEAN, _SHARES),
}
_BESIDE: dict[QualityMetric, tuple[tuple[QualityMetric, Aggregate], ...]] = {
    QualityMetric.PSNR: (
        (QualityMetric.PSNR, Aggregate.MEAN),
        (QualityMetric.SSIM, Aggregate.WORST),
    ),
    QualityMetric.COSINE: ((QualityMetric.NEIGHBOR_AGREEMENT, Aggregate.MEAN),),
    QualityMetric.TOP1_AGREEMENT: ((QualityMetric.COSINE, Aggregate.WORST),),
    QualityMetric.SEQUENCE_AGREEMENT: ((QualityMetric.COSINE, Aggregate.WORST),),
}


def gate(metric: QualityMetric, rung: str) -> QualityGate:
    """Return the gate of a rung.

    Raises:
        KeyError: A metric that has no ladder.
        ValueError: No such rung.
    """
    aggregate, bounds = _LADDERS[metric]
    return QualityGate(metric=metric, minimum=bounds[RUNGS.index(rung)], aggregate=aggregate)


@dataclass(frozen=True)
class Figure:
    """One figure of a form's quality.

    Attributes:
        truth: Compared with the right answers, not with what FP32 answers.
    """

    metric: QualityMetric
    aggregate: Aggregate
    truth: bool = False

    @property
    def key(self) -> str:
        """Return its name in JSON and in tables: Worst PSNR dB, Mean Top1Agreement with truth."""
        unit = " dB" if METRICS[self.metric].unit == "dB" else ""
        return f"{self.aggregate} {self.metric}{unit}{' with truth' if self.truth else ''}"


def figures(metric: QualityMetric, *, truth: bool) -> tuple[Figure, ...]:
    """Return what a subject's tables show: first what its gates judge.

    Args:
        metric: Of the gates.
        truth: Whether the right answers are known.
    """
    judged = Figure(metric, _LADDERS[metric][0])
    beside = [Figure(*each) for each in _BESIDE.get(metric, ())]
    return (judged, *beside, *([Figure(metric, Aggregate.MEAN, truth=True)] if truth else []))


def figure_of(key: str) -> Figure:
    """Return the figure of a key."""
    aggregate, metric, *rest = key.split()
    return Figure(QualityMetric(metric), Aggregate(aggregate), truth="truth" in rest)


def shown(key: str, value: float) -> str:
    """Return a figure's value without its unit, which its heading has."""
    metric = figure_of(key).metric
    words = metric_in_words(metric, value)
    return words.removesuffix(f" {METRICS[metric].unit}") if "dB" in words else words


def holds(bound: QualityGate, quality: Mapping[str, float], *, truth: bool = False) -> bool:
    """Return whether figures hold a gate: those of its metric and aggregate.

    Args:
        truth: The gate compares with the right answers, not with FP32.
    """
    value = quality.get(Figure(bound.metric, bound.aggregate, truth=truth).key)
    return value is not None and bound.passes(value)


def in_words(bound: QualityGate, *, truth: bool = False) -> str:
    """Return a gate for people: Worst PSNR 40 dB."""
    unit = " dB" if METRICS[bound.metric].unit == "dB" else ""
    return f"{bound.aggregate} {bound.metric} {bound.minimum:g}{unit}{' with truth' * truth}"


def with_gates(document: Mapping[str, Any], bounds: Sequence[QualityGate]) -> dict[str, Any]:
    """Return a resource that asks for these gates in place of its own, and for the fastest form.

    The right answers, which its own gate may be about, are left out: these gates compare with FP32.
    """
    spec = dict(document["spec"])
    spec["quality"] = [bound.to_api() for bound in bounds]
    evaluation = {k: v for k, v in spec["data"]["evaluation"].items() if k != "references"}
    spec["data"] = {**spec["data"], "evaluation": evaluation}
    # Any gain counts here: a user's threshold would hide which form is the fastest.
    objective = {k: v for k, v in spec.get("objective", {}).items() if k != "minimumSpeedup"}
    spec["objective"] = objective
    return {**document, "spec": spec}
