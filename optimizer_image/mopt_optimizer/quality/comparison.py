"""Compares outputs sample by sample, in the metrics of the gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mopt_api.enums import QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.metrics import METRICS
from mopt_optimizer.errors import DataError, NotAnImage

from .comparable import Array, Options, check_comparable
from .metrics import score


@dataclass
class Comparison:
    """Collects how outputs agree with references, a sample at a time: none need be kept.

    Attributes:
        ranges: Metrics to compute; PSNR and SSIM with their data range, others may have None.
        required: False leaves SSIM out where the outputs are no images, instead of raising.
        options: How outputs are read.
    """

    ranges: Mapping[QualityMetric, float | None]
    required: bool = True
    options: Options = field(default_factory=Options)
    _values: dict[QualityMetric, list[float]] = field(init=False)
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
            ComparisonError: As add; labels may have another shape where the metric takes them.
        """
        if len(truth) != len(outputs):
            raise DataError(f"{len(truth)} ground-truth arrays for {len(outputs)} outputs")
        pairs = list(zip(truth, outputs, strict=True))
        scores: dict[QualityMetric, float] = {}
        for metric in list(self._values):
            try:
                values = [score(metric, e, a, self.ranges[metric], self.options) for e, a in pairs]
                scores[metric] = METRICS[metric].worst(values)
            except NotAnImage:
                if self.required:
                    raise
                del self._values[metric]
        # Nothing is kept of a sample that fails in one metric.
        for metric, value in scores.items():
            self._values[metric].append(value)
        self._exact &= all(np.array_equal(expected, actual) for expected, actual in pairs)

    def results(self) -> list[QualityResult]:
        """Return worst, mean and each sample's value per metric; empty before any sample."""
        return [
            QualityResult(
                metric=metric,
                worst=METRICS[metric].worst(values),
                mean=math.fsum(values) / len(values),
                exact=self._exact,
                per_sample=list(values),
            )
            for metric, values in self._values.items()
            if values
        ]
