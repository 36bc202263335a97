"""The quality metrics: one row each. Rules, texts and tables are derived from it.

A metric's row says what its values mean; mopt_optimizer.quality.metrics computes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from .enums import QualityMetric


class Scale(Enum):
    """What a value measures, hence which direction is better and how it turns into noise."""

    DECIBELS = auto()
    """Ten times the logarithm of a power ratio, higher is better: PSNR."""
    UP_TO_ONE = auto()
    """1 is identical, higher is better: SSIM, a share."""
    ERROR = auto()
    """An amplitude, 0 is identical, lower is better: the largest difference."""


class Outputs(Enum):
    """Which outputs a metric is defined for."""

    ANY = auto()
    IMAGES = auto()
    CLASSES = auto()
    """Scores of at least two classes; ground truth may be integer labels."""
    DETECTIONS = auto()
    """Boxes with scores and labels, rows or outputs of their own."""
    SEQUENCES = auto()
    """Ids of tokens, or scores of each."""
    EMBEDDINGS = auto()
    """Vectors that are searched for their neighbours, a row each."""


@dataclass(frozen=True)
class MetricInfo:
    """One quality metric.

    Attributes:
        scale: What its values measure.
        meaning: Of a value, as it follows the metric's name in a sentence.
        definition: For the table in docs/api.md.
        digits: Format of a value, without its unit.
        unit: Of a value for people: "dB", "%" of a value from 0 to 1, or none.
        bounds: Smallest and largest minimum of a gate, where these are closer than the field's.
        needs_range: Whether it is computed over a declared span of the output's values.
        outputs: What it is defined for.
        least_samples: Fewer say nothing.
    """

    scale: Scale
    meaning: str
    definition: str
    digits: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    needs_range: bool = False
    outputs: Outputs = Outputs.ANY
    least_samples: int = 1

    @property
    def over_set(self) -> bool:
        """Whether a sample's value depends on the other samples too."""
        return self.outputs is Outputs.EMBEDDINGS

    @property
    def counts_vary(self) -> bool:
        """Whether outputs may differ in the number of their detections or tokens."""
        return self.outputs in (Outputs.DETECTIONS, Outputs.SEQUENCES)

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value means closer outputs; then its gates have a minimum."""
        return self.scale is not Scale.ERROR

    def worst(self, values: Sequence[float]) -> float:
        """Return the value that is furthest from agreement; at least one value."""
        return min(values) if self.higher_is_better else max(values)


METRICS: dict[QualityMetric, MetricInfo] = {
    QualityMetric.PSNR: MetricInfo(
        scale=Scale.DECIBELS,
        meaning=" in dB",
        definition="Peak signal-to-noise ratio; the peak is `dataRange`",
        digits=".2f",
        unit="dB",
        needs_range=True,
    ),
    QualityMetric.SSIM: MetricInfo(
        scale=Scale.UP_TO_ONE,
        meaning=", at most 1",
        definition="Structural similarity of images, over `dataRange`",
        digits=".5f",
        bounds=(-1.0, 1.0),
        needs_range=True,
        outputs=Outputs.IMAGES,
    ),
    QualityMetric.SQNR: MetricInfo(
        scale=Scale.DECIBELS,
        meaning=" in dB",
        definition="Signal-to-quantization-noise ratio; needs no `dataRange`",
        digits=".2f",
        unit="dB",
    ),
    QualityMetric.COSINE: MetricInfo(
        scale=Scale.UP_TO_ONE,
        meaning=", at most 1",
        definition="Cosine of the angle between the outputs",
        digits=".5f",
        bounds=(-1.0, 1.0),
    ),
    QualityMetric.TOP1_AGREEMENT: MetricInfo(
        scale=Scale.UP_TO_ONE,
        meaning=", the share of predictions (largest value along the last axis) that stay the "
        "same, 0 to 1",
        definition="Share of predictions, along the last axis, that stay the same",
        digits=".4f",
        unit="%",
        bounds=(0.0, 1.0),
        outputs=Outputs.CLASSES,
    ),
    QualityMetric.DETECTION_F1: MetricInfo(
        scale=Scale.UP_TO_ONE,
        meaning=", the F1 score of detections (same label, IoU 0.5 and more, score 0.25 and more), "
        "0 to 1",
        definition="F1 score of detections: same label, intersection over union 0.5 and more",
        digits=".4f",
        unit="%",
        bounds=(0.0, 1.0),
        outputs=Outputs.DETECTIONS,
    ),
    QualityMetric.SEQUENCE_AGREEMENT: MetricInfo(
        scale=Scale.UP_TO_ONE,
        meaning=", 1 less the edit distance of the token ids over the longer length, 0 to 1",
        definition="1 less the edit distance of the token ids over the longer length",
        digits=".4f",
        unit="%",
        bounds=(0.0, 1.0),
        outputs=Outputs.SEQUENCES,
    ),
    QualityMetric.NEIGHBOR_AGREEMENT: MetricInfo(
        scale=Scale.UP_TO_ONE,
        meaning=", the share of an embedding's 5 nearest neighbors by cosine, in the evaluation "
        "data, that stay nearest (recall at 5; needs 20 samples), 0 to 1",
        definition="Recall at 5 of embeddings' nearest neighbors by cosine in the evaluation data",
        digits=".4f",
        unit="%",
        bounds=(0.0, 1.0),
        outputs=Outputs.EMBEDDINGS,
        least_samples=20,
    ),
    QualityMetric.MAX_ABS_ERROR: MetricInfo(
        scale=Scale.ERROR,
        meaning=", the largest difference of any value, in the output's unit",
        definition="Largest difference of any value, in the output's unit",
        digits=".4g",
    ),
}

EXACT = "identical"


def metric_in_words(metric: QualityMetric, value: float, *, exact: bool = False) -> str:
    """Return a metric's value for people, with its unit.

    Args:
        exact: Every output is identical to the reference's.
    """
    info = METRICS[metric]
    if exact:
        return EXACT
    if info.unit == "%":
        return f"{_told_apart(100 * value, '.2f', [100.0])}%"
    return f"{value_as_bound(metric, value)}{f' {info.unit}' if info.unit else ''}"


def value_as_bound(metric: QualityMetric, value: float, *, bound: float | None = None) -> str:
    """Return a metric's value in the terms of a gate's bound: no unit, never in percent.

    What is not perfect has the digits to show it; 0.999998 is never 1.00000.

    Args:
        bound: A gate's, from which the value is to be told apart too.
    """
    info = METRICS[metric]
    others = [1.0] if info.scale is Scale.UP_TO_ONE else []
    return _told_apart(value, info.digits, others if bound is None else [*others, bound])


def _told_apart(value: float, digits: str, others: Sequence[float]) -> str:
    """Return a value in a format, with more digits where it reads as one of the others."""
    count, kind = int(digits[1:-1]), digits[-1]
    for more in range(count, 17):
        text = f"{value:.{more}{kind}}"
        if value in others or float(text) not in others:
            return text
    return repr(value)


def bound_in_words(metric: QualityMetric, bound: float) -> str:
    """Return a gate's bound as the user wrote it, with its unit."""
    unit = decibels(metric)
    return f"{bound:.10g}{f' {unit}' if unit else ''}"


def decibels(metric: QualityMetric) -> str:
    """Return "dB" for a metric in decibels, else nothing."""
    return "dB" if METRICS[metric].scale is Scale.DECIBELS else ""


def names(
    *,
    higher_is_better: bool | None = None,
    needs_range: bool | None = None,
    outputs: Outputs | None = None,
) -> list[QualityMetric]:
    """Return the metrics whose rows say so, in their order."""
    return [
        metric
        for metric, info in METRICS.items()
        if higher_is_better in (None, info.higher_is_better)
        and needs_range in (None, info.needs_range)
        and outputs in (None, info.outputs)
    ]


def listed(items: Iterable[str], last: str = "and") -> str:
    """Return items as a list in a sentence: A, B and C."""
    *some, final = items
    return f"{', '.join(some)} {last} {final}" if some else final


def metric_table() -> str:
    """Return the table of metrics in docs/api.md."""
    lines = ["| Metric | Bound | Meaning |", "|---|---|---|"]
    for metric, info in METRICS.items():
        bound = "`minimum`" if info.higher_is_better else "`maximum`"
        if unit := decibels(metric):
            bound += f", {unit}"
        elif info.bounds is not None:
            bound += f", {info.bounds[0]:g} to {info.bounds[1]:g}"
        lines.append(f"| `{metric}` | {bound} | {info.definition} |")
    return "\n".join(lines)
