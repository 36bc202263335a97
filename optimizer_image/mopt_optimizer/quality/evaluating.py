"""Quality over many samples: worst, mean and each sample's value, against FP32 and ground truth.

Outputs are compared by position. A sample's value is that of its worst output and, for SSIM, of
the worst image in its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import ComparisonError, DataError, NotAnImage, SpecError

from .metrics import Array, Metric, Options, check_comparable, check_finite, score

Sample = Mapping[str, NDArray[Any]]
Model = Callable[[Sample], Sequence[Array]]


@dataclass(frozen=True)
class Summary:
    """One metric over all samples.

    Attributes:
        worst: Value of the worst sample: the lowest, of MaxAbsError the highest.
        mean: Mean over the samples.
        exact: Every output is identical to the reference's.
        per_sample: Value of each sample, in the data's order.
    """

    metric: Metric
    worst: float
    mean: float
    exact: bool
    per_sample: tuple[float, ...]


@dataclass
class Agreement:
    """Collects how outputs agree with references, a sample at a time: none need be kept.

    Attributes:
        ranges: Metrics to compute; PSNR and SSIM with their data range, others may have None.
        required: False leaves SSIM out where the outputs are no images, instead of raising.
        options: How outputs are read.
    """

    ranges: Mapping[Metric, float | None]
    required: bool = True
    options: Options = field(default_factory=Options)
    _values: dict[Metric, list[float]] = field(init=False)
    _exact: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self._values = {metric: [] for metric in self.ranges}

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the outputs of the next sample with the reference model's.

        Raises:
            ComparisonError: Of another shape, empty, not finite, or not what a metric needs.
        """
        check_comparable(reference, outputs)
        self.add_truth(reference, outputs)

    def add_truth(self, truth: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the outputs of the next sample with ground truth, which may be class labels.

        Raises:
            ComparisonError: As add; labels may have another shape for Top1Agreement only.
        """
        if len(truth) != len(outputs):
            raise DataError(f"{len(truth)} ground-truth arrays for {len(outputs)} outputs")
        pairs = list(zip(truth, outputs, strict=True))
        scores: dict[Metric, float] = {}
        for metric in list(self._values):
            try:
                scores[metric] = metric.worst(
                    [score(metric, e, a, self.ranges[metric], self.options) for e, a in pairs]
                )
            except NotAnImage:
                if self.required:
                    raise
                del self._values[metric]
        # Nothing is kept of a sample that fails in one metric.
        for metric, value in scores.items():
            self._values[metric].append(value)
        self._exact &= all(np.array_equal(expected, actual) for expected, actual in pairs)

    def summaries(self) -> list[Summary]:
        """Return one summary per metric; empty before any sample."""
        return [
            Summary(
                metric=metric,
                worst=metric.worst(values),
                mean=math.fsum(values) / len(values),
                exact=self._exact,
                per_sample=tuple(values),
            )
            for metric, values in self._values.items()
            if values
        ]


@dataclass(frozen=True)
class Evaluation:
    """A candidate's quality.

    Attributes:
        samples: How many were compared.
        against_fp32: The candidate's outputs against the reference model's.
        against_truth: The candidate's outputs against ground truth; empty without it.
        reference_against_truth: The reference model's own, to tell what quantization cost.
    """

    samples: int
    against_fp32: tuple[Summary, ...]
    against_truth: tuple[Summary, ...] = ()
    reference_against_truth: tuple[Summary, ...] = ()

    def value(self, metric: str, *, aggregate: str = "Worst", truth: bool = False) -> float:
        """Return one metric's value.

        Args:
            metric: A Metric, or its name.
            aggregate: Worst or Mean.
            truth: Against ground truth instead of FP32.

        Raises:
            SpecError: It was not computed, or no such aggregate exists.
        """
        wanted = parse_metric(metric)
        if aggregate not in ("Worst", "Mean"):
            raise SpecError(f"aggregate {aggregate!r} is neither Worst nor Mean")
        for summary in self.against_truth if truth else self.against_fp32:
            if summary.metric is wanted:
                return summary.worst if aggregate == "Worst" else summary.mean
        raise SpecError(
            f"{wanted} was not computed against {'ground truth' if truth else 'FP32'}; "
            "name it in metrics"
        )


def parse_metric(name: str) -> Metric:
    """Return the metric of a name.

    Raises:
        SpecError: No such metric; lists them.
    """
    try:
        return Metric(name)
    except ValueError as error:
        raise SpecError(f"metric {name!r} is none of {', '.join(Metric)}") from error


def evaluate(
    reference: Model,
    candidate: Model,
    samples: Iterable[Sample],
    *,
    metrics: Sequence[str] = (Metric.PSNR, Metric.MAX_ABS_ERROR),
    data_range: float | None = 1.0,
    truth: Iterable[Sequence[Array]] | None = None,
    options: Options | None = None,
) -> Evaluation:
    """Run two models on the same samples and compare them, one sample in memory at a time.

    Args:
        reference, candidate: Take a sample, return the outputs in order.
        samples: Input name to array.
        metrics: Names of Metric; duplicates count once.
        data_range: Span of the outputs' values, for PSNR and SSIM.
        truth: For each sample what the outputs should be; exactly as many.

    Raises:
        DataError: No samples, or ground truth of another number; ground truth that is not finite.
        ComparisonError: An output cannot be compared; names the sample's number.
        SpecError: An unknown metric, or none.
    """
    chosen = list(dict.fromkeys(parse_metric(metric) for metric in metrics))
    if not chosen:
        raise SpecError(f"no metric asked for; choose among {', '.join(Metric)}")
    ranges = {metric: data_range if metric.needs_range else None for metric in chosen}
    options = options or Options()
    fp32, own, base = (Agreement(ranges, options=options) for _ in range(3))
    truths = None if truth is None else iter(truth)
    number = -1
    for number, sample in enumerate(samples):
        expected, found = list(reference(sample)), list(candidate(sample))
        true = None if truths is None else next(truths, None)
        if truths is not None and true is None:
            raise DataError(f"ground truth ends at sample {number}; give one for each sample")
        try:
            for index, array in enumerate(expected):
                check_finite(f"the reference's output {index}", array)
            fp32.add(expected, found)
            if true is not None:
                own.add_truth(true, found)
                base.add_truth(true, expected)
        except ComparisonError as error:
            raise type(error)(f"sample {number}: {error}") from error
    if number < 0:
        raise DataError("no samples to evaluate on; give one at least")
    if truths is not None and next(truths, None) is not None:
        raise DataError(f"more ground truth than the {number + 1} samples")
    return Evaluation(
        samples=number + 1,
        against_fp32=tuple(fp32.summaries()),
        against_truth=tuple(own.summaries()),
        reference_against_truth=tuple(base.summaries()),
    )
