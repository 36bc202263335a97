"""Compares outputs sample by sample with the gates' metrics."""

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
    """Accumulates metrics of outputs against references, sample by sample; keeps no samples.

    Attributes:
        ranges: Metrics to compute; PSNR and SSIM with their data range, others may have None.
        required: False drops SSIM if the outputs are not images, instead of raising.
        options: How outputs are interpreted.
    """

    ranges: Mapping[QualityMetric, float | None]
    required: bool = True
    options: Options = field(default_factory=Options)
    _values: dict[QualityMetric, list[float]] = field(init=False)
    _exact: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self._values = {metric: [] for metric in self.ranges}

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the next sample's outputs with the reference model's.

        Raises:
            ComparisonError: The outputs differ in shape, are empty or not finite, or do not fit a
                metric.
        """
        check_comparable(reference, outputs)
        self.add_truth(reference, outputs)

    def add_truth(self, truth: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the next sample's outputs with ground truth, which may be class labels.

        Raises:
            ComparisonError: As add; labels may differ in shape if the metric accepts them.
            DataError: The number of arrays differs.
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
        # A sample that fails in one metric is recorded in none.
        for metric, value in scores.items():
            self._values[metric].append(value)
        self._exact &= all(np.array_equal(expected, actual) for expected, actual in pairs)

    def results(self) -> list[QualityResult]:
        """Return the worst, mean and per-sample values of each metric; empty before any sample."""
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
