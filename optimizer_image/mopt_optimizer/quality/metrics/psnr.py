"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import numpy as np

from mopt_api.figures import EXACT_PSNR_DB
from mopt_optimizer.quality.comparable import Array, Options, check_range, finite_values


def psnr(reference: Array, output: Array, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, at most EXACT_PSNR_DB.

    Args:
        data_range: The peak: span of the values the output can take, not of the data itself.

    Raises:
        ShapeMismatch, NonFiniteOutput, ConflictingRange
    """
    check_range(data_range)
    expected, actual = finite_values(reference, output)
    if not expected.size:
        return EXACT_PSNR_DB
    mean_square = float(np.mean(np.square(expected - actual)))
    if mean_square == 0:
        return EXACT_PSNR_DB
    return min(EXACT_PSNR_DB, 20 * math.log10(data_range) - 10 * math.log10(mean_square))


def compute(reference: Array, output: Array, data_range: float, _options: Options) -> float:
    """Return the psnr of two outputs."""
    return psnr(reference, output, data_range)
