"""Each calibration rule equals a plain definition on the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import entropy as scipy_entropy  # type: ignore[import-untyped]

from mopt_optimizer.onnx_quantization.calibration import METHODS, Calibration
from mopt_optimizer.onnx_quantization.histograms import Magnitudes, RangeObserver
from mopt_optimizer.onnx_quantization.ranges import (
    ENTROPY_BINS,
    MSE_CANDIDATES,
    entropy_threshold,
    kl_divergences,
    mse_threshold,
    percentile_threshold,
    tensor_range,
)

pytestmark = pytest.mark.optimizer

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "normal": lambda g: g.normal(0, 1, 200_000),
    "laplace": lambda g: g.laplace(0, 3, 200_000),
    "relu": lambda g: np.maximum(g.normal(0, 1, 200_000), 0),
    "outlier": lambda g: np.append(g.normal(0, 1, 200_000), 60.0),
    "negative": lambda g: -np.abs(g.normal(0, 1e-4, 200_000)),
    "sparse": lambda g: g.choice([0.0, 0.1, 7.0, 900.0], 5_000),
}


@pytest.fixture(params=DISTRIBUTIONS)
def values(request: pytest.FixtureRequest) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    result: NDArray[np.float32] = DISTRIBUTIONS[request.param](generator).astype(np.float32)
    return result


def observed(values: NDArray[np.float32]) -> RangeObserver:
    observer = RangeObserver()
    for part in np.array_split(values, 7):
        assert observer.add(part)
    return observer


def plain_divergence(counts: NDArray[np.int64], bins: int, levels: int) -> float:
    """NVIDIA's definition for one candidate, word for word, with scipy's entropy."""
    counts = counts.astype(np.float64)
    counts[0] = counts[1]
    reference = counts[:bins].copy()
    quantized = np.zeros(bins)
    level_of = np.arange(bins) * levels // bins
    for level in range(levels):
        inside = (level_of == level) & (reference > 0)
        if inside.any():
            quantized[inside] = reference[inside].sum() / inside.sum()
    reference[-1] += counts[bins:].sum()
    return float(scipy_entropy(reference, quantized)) if quantized.any() else np.inf


@pytest.mark.parametrize("levels", [128, 256])
def test_divergences_equal_the_plain_definition(values: NDArray[np.float32], levels: int) -> None:
    counts = observed(values).magnitudes().coarsened(2 * ENTROPY_BINS).counts
    assert ENTROPY_BINS <= len(counts) <= 2 * ENTROPY_BINS
    found = kl_divergences(counts, levels)
    candidates = [levels, levels + 1, 777, 1500, len(counts) - 1, len(counts)]
    expected = [plain_divergence(counts, bins, levels) for bins in candidates]
    np.testing.assert_allclose(found[np.array(candidates) - levels], expected, rtol=1e-9, atol=1e-9)


def test_threshold_is_the_plain_definitions_best() -> None:
    values = np.random.default_rng(3).laplace(0, 1, 50_000).astype(np.float32)
    coarse = observed(values).magnitudes().coarsened(512)
    expected = [plain_divergence(coarse.counts, n, 128) for n in range(128, len(coarse.counts) + 1)]
    found = kl_divergences(coarse.counts, 128)
    assert int(np.argmin(found)) == int(np.argmin(expected))
    assert int(np.argmin(found)) not in (0, len(expected) - 1)


def test_entropy_cuts_a_lone_outlier_and_min_max_does_not() -> None:
    generator = np.random.default_rng(0)
    observer = observed(np.append(generator.normal(0, 1, 200_000), 60.0).astype(np.float32))
    low, high = tensor_range(observer, Calibration.ENTROPY)
    assert -6 < low < -2
    assert 2 < high < 12
    assert tensor_range(observer, Calibration.MIN_MAX)[1] == 60


def test_one_sided_tensor_is_quantized_into_twice_the_levels() -> None:
    values = np.abs(np.random.default_rng(0).normal(0, 1, 100_000)).astype(np.float32)
    magnitudes = observed(values).magnitudes()
    found = tensor_range(observed(values), Calibration.ENTROPY)
    assert found == (0.0, entropy_threshold(magnitudes, levels=256))
    assert entropy_threshold(magnitudes, levels=256) != entropy_threshold(magnitudes, levels=128)


def squared_error(values: NDArray[np.float32], low: float, high: float) -> float:
    """What 8 bits of a range lose, by rounding every value."""
    step = (high - low) / 255
    rounded = np.round(np.clip(values.astype(np.float64), low, high) / step) * step
    return float(((values - rounded) ** 2).sum())


def test_mse_loses_least_of_all_ranges(values: NDArray[np.float32]) -> None:
    lowest, highest = float(values.min()), float(values.max())
    found = squared_error(values, *tensor_range(observed(values), Calibration.MSE))
    largest = max(-lowest, highest)
    for share in range(1, MSE_CANDIDATES + 1):
        threshold = largest * share / MSE_CANDIDATES
        low, high = min(0, max(lowest, -threshold)), max(0, min(highest, threshold))
        # Values stand for the center of their bin.
        assert found <= squared_error(values, low, high) * 1.05


def test_mse_cuts_a_lone_outlier_among_many() -> None:
    generator = np.random.default_rng(0)
    observer = observed(np.append(generator.normal(0, 1, 2_000_000), 60.0).astype(np.float32))
    assert mse_threshold(observer.magnitudes(), observer.lowest, observer.highest) < 30


@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.99, 100.0])
def test_percentile_is_numpys_to_within_a_bin(
    values: NDArray[np.float32], percentile: float
) -> None:
    magnitudes = observed(values).magnitudes()
    exact = np.percentile(np.abs(values), percentile, method="inverted_cdf")
    assert 0 < percentile_threshold(magnitudes, percentile) - exact <= magnitudes.width * 1.0001


def test_min_max_is_exact(values: NDArray[np.float32]) -> None:
    found = tensor_range(observed(values), Calibration.MIN_MAX)
    assert found == (values.min(), values.max())


@pytest.mark.parametrize("method", METHODS[1:])
def test_range_never_exceeds_the_values_and_keeps_their_sign(
    values: NDArray[np.float32], method: Calibration
) -> None:
    low, high = tensor_range(observed(values), method)
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    assert low < high
    assert (low == 0) == (values.min() >= 0)
    assert (high == 0) == (values.max() <= 0)


@pytest.mark.parametrize("method", METHODS[1:])
def test_constant_tensors(method: Calibration) -> None:
    assert tensor_range(observed(np.zeros(10, np.float32)), method) == (0, 0)
    assert tensor_range(observed(np.full(10, 2.0, np.float32)), method) == (0, 2)


def test_few_bins_are_kept_whole() -> None:
    assert entropy_threshold(Magnitudes(np.ones(100, np.int64), 0.25), levels=128) == 25


def test_best_is_no_rule_for_a_tensor() -> None:
    with pytest.raises(ValueError, match="Best"):
        tensor_range(observed(np.ones(3, np.float32)), Calibration.BEST)
