"""Which range of a tensor's values INT8 covers: MinMax, Percentile, Entropy and MSE."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .calibration import PERCENTILE, Calibration
from .histograms import Magnitudes, RangeObserver

Ranges = Mapping[str, tuple[float, float]]
"""(low, high) of tensors, by name."""

ENTROPY_BINS = 2048
"""Minimum number of bins that entropy calibration searches (at most twice as many)."""

MSE_CANDIDATES = 200
"""Thresholds that MSE calibration tries, evenly up to the largest magnitude."""

_STEPS = 255
LEVELS = 128
"""Distinct magnitudes that 8 bits hold for a tensor of both signs."""


def tensor_range(
    observer: RangeObserver, method: Calibration, *, percentile: float = PERCENTILE
) -> tuple[float, float]:
    """Return the (low, high) that INT8 covers; values beyond it saturate.

    Percentile, Entropy and MSE bound the magnitude: the range is -t to t, clipped to the observed
    values so that unsigned activations waste no levels. It always includes 0.

    Args:
        observer: Holds at least one value.

    Raises:
        ValueError: The method is BEST, which chooses among files.
    """
    low, high = observer.lowest, observer.highest
    if method is Calibration.MIN_MAX:
        return low, high
    magnitudes = observer.magnitudes()
    if method is Calibration.PERCENTILE:
        threshold = percentile_threshold(magnitudes, percentile)
    elif method is Calibration.ENTROPY:
        one_sided = low >= 0 or high <= 0
        threshold = entropy_threshold(magnitudes, levels=2 * LEVELS if one_sided else LEVELS)
    elif method is Calibration.MSE:
        threshold = mse_threshold(magnitudes, low, high)
    else:
        raise ValueError(f"{method} is no rule for one tensor's range")
    return min(0.0, max(low, -threshold)), max(0.0, min(high, threshold))


def percentile_threshold(magnitudes: Magnitudes, percentile: float) -> float:
    """Return the upper edge of the first bin at which the cumulative share reaches percentile.

    Args:
        percentile: Above 0, at most 100.
    """
    cumulated = np.cumsum(magnitudes.counts)
    needed = math.ceil(percentile / 100 * int(cumulated[-1]))
    return (int(np.searchsorted(cumulated, needed)) + 1) * magnitudes.width


def entropy_threshold(magnitudes: Magnitudes, *, levels: int = LEVELS) -> float:
    """Return the threshold whose INT8 form loses the least information (Kullback-Leibler).

    Args:
        levels: Number of levels for the magnitudes below the threshold.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017, as defined in NVIDIA's
    pytorch-quantization (calib/histogram.py); on a tie the largest candidate wins, as there.
    """
    coarse = magnitudes.coarsened(2 * ENTROPY_BINS)
    if len(coarse.counts) <= levels:
        return len(coarse.counts) * coarse.width
    divergences = kl_divergences(coarse.counts, levels)
    best = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return (levels + best) * coarse.width


def mse_threshold(magnitudes: Magnitudes, low: float, high: float) -> float:
    """Return the threshold beyond which values are cut so that the squared error is least.

    Each bin stands for its center, rounded to the steps of 8 bits or cut; on a tie the largest
    threshold wins.

    Args:
        low, high: The values' smallest and largest.
    """
    coarse = magnitudes.coarsened(2 * ENTROPY_BINS)
    centers = (np.arange(len(coarse.counts)) + 0.5) * coarse.width
    largest = max(-low, high)
    errors = []
    for share in range(1, MSE_CANDIDATES + 1):
        threshold = largest * share / MSE_CANDIDATES
        step = (max(0.0, min(high, threshold)) - min(0.0, max(low, -threshold))) / _STEPS
        kept = np.minimum(centers, threshold)
        rounded = np.round(kept / step) * step if step else kept
        errors.append(float((coarse.counts * (centers - rounded) ** 2).sum()))
    best = len(errors) - 1 - int(np.argmin(errors[::-1]))
    return largest * (best + 1) / MSE_CANDIDATES


def kl_divergences(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Return the divergence of each candidate threshold: levels, levels + 1, ... len(counts) bins.

    For a candidate of i bins, the reference P is the first i counts, with everything beyond added
    to the last. Q replaces each nonzero count of a level (bin b is in level b * levels // i) with
    the mean of the level's nonzero counts before that addition. Both are normalized; the value is
    the sum of P * log(P / Q), infinite where Q is 0 and P is not. The first bin gets the second
    one's count: a spike at 0 would dominate.

    Prefix sums take levels * candidates terms instead of candidates * bins.
    """
    bins = counts.astype(np.float64)
    bins[0] = bins[1]
    total = bins.sum()
    tops = np.arange(levels, len(bins) + 1)
    sums = np.concatenate([[0.0], np.cumsum(bins)])
    occupied = np.concatenate([[0], np.cumsum(bins > 0)])
    logs = np.concatenate([[0.0], np.cumsum(_xlogx(bins))])
    # First bin of each level: the smallest b with b * levels // i >= level.
    edges = -(-np.arange(levels + 1) * tops[:, None] // levels)
    mass = np.diff(sums[edges], axis=1)
    filled = np.diff(occupied[edges], axis=1)
    means = np.divide(mass, filled, out=np.ones_like(mass), where=filled > 0)
    tail = total - sums[tops]
    last = bins[tops - 1]
    # sum(P log P), then sum(P log Q): every bin of a level has the same Q.
    own = logs[tops] - _xlogx(last) + _xlogx(last + tail)
    cross = (mass * np.log(means)).sum(axis=1) + tail * np.log(means[:, -1])
    kept = sums[tops]
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = (own - cross) / total + np.log(kept / total)
    divergence[(tail > 0) & (last == 0)] = np.inf
    result: NDArray[np.float64] = np.nan_to_num(divergence, nan=np.inf, posinf=np.inf)
    return result


def _xlogx(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * np.log(np.where(values > 0, values, 1.0))
