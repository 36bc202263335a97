"""Calibration methods: which range of a tensor's values 8 bits cover. Pure."""

from __future__ import annotations

from enum import StrEnum

PERCENTILE = 99.99
"""Of the magnitudes. The documentation of mopt_api's Calibrator.PERCENTILE repeats it."""


class Calibration(StrEnum):
    """How a range is chosen from the calibration data's values.

    BEST writes the model with each other method and keeps the one whose outputs are closest to
    FP32 on the calibration samples; all of them use the same pass over the samples.
    """

    MIN_MAX = "MinMax"
    PERCENTILE = "Percentile"
    ENTROPY = "Entropy"
    MSE = "MSE"
    BEST = "Best"


METHODS = (Calibration.MIN_MAX, Calibration.PERCENTILE, Calibration.ENTROPY, Calibration.MSE)
