"""A quality metric: the mean difference of the values."""

from __future__ import annotations

import numpy as np

from mopt_api.enums import QualityMetric
from mopt_api.metrics import METRICS as ROWS
from mopt_api.metrics import MetricInfo, Scale
from mopt_optimizer.quality.comparable import Array, Options, as_float64
from mopt_optimizer.quality.metrics import METRICS

MEAN = QualityMetric.add("MeanAbsError")
ROWS[MEAN] = MetricInfo(
    scale=Scale.ERROR,
    meaning=", the mean difference of the values, in the output's unit",
    definition="Mean difference of the values, in the output's unit",
    digits=".4g",
)
METRICS[MEAN] = f"{__name__}:compute"


def compute(reference: Array, output: Array, _data_range: float, _options: Options) -> float:
    """Return the mean absolute difference of two outputs."""
    expected, actual = as_float64(reference, output)
    return float(np.mean(np.abs(expected - actual)))
