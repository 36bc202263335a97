"""The streaming histogram equals plain numpy on the same values, in any order and split."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mopt_optimizer.onnx_quantization.histograms import (
    CAPACITY,
    Magnitudes,
    RangeObserver,
    exponent_for,
)

pytestmark = pytest.mark.optimizer

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def plain(values: NDArray[np.float32]) -> Magnitudes:
    """The definition: all values at once, numpy's own histogram in float64."""
    magnitudes = np.abs(values.astype(np.float64))
    width = 2.0**-120
    while magnitudes.max() >= width * CAPACITY:
        width *= 2
    edges = np.arange(CAPACITY + 1) * width
    counts, _ = np.histogram(magnitudes, edges)
    return Magnitudes(counts[: np.flatnonzero(counts)[-1] + 1], width)


def streamed(parts: list[NDArray[np.float32]]) -> RangeObserver:
    observer = RangeObserver()
    for part in parts:
        assert observer.add(part)
    return observer


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.integers(1, 200), elements=FINITE), st.data())
def test_any_split_and_order_gives_the_plain_histogram(
    values: NDArray[np.float32], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, values.size), max_size=5)))
    shuffled = np.array(data.draw(st.permutations(list(values))), np.float32)
    observer = streamed(np.split(shuffled, cuts))
    found, expected = observer.magnitudes(), plain(values)
    assert found.width == expected.width
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert (observer.lowest, observer.highest) == (values.min(), values.max())
    assert observer.count == values.size


def test_many_values_of_growing_size_are_exact_and_memory_stays() -> None:
    generator = np.random.default_rng(0)
    parts = [
        generator.normal(0, 10.0**power, 3_000_00).astype(np.float32) for power in range(-3, 4)
    ]
    observer = streamed(parts)
    expected = plain(np.concatenate(parts))
    np.testing.assert_array_equal(observer.magnitudes().counts, expected.counts)
    assert observer._counts.nbytes == CAPACITY * 8


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_is_said_and_left_out(bad: float) -> None:
    observer = streamed([np.array([1, 2], np.float32)])
    assert not observer.add(np.array([5, bad], np.float32))
    assert (observer.count, observer.lowest, observer.highest) == (3, 1, 5)
    assert not observer.add(np.array([bad], np.float32))
    assert int(observer.magnitudes().counts.sum()) == observer.count == 3


def test_zeros_only() -> None:
    observer = streamed([np.zeros(7, np.float32)])
    assert observer.magnitudes().counts.tolist() == [7]
    assert (observer.lowest, observer.highest) == (0, 0)


def test_nothing_observed() -> None:
    with pytest.raises(ValueError, match="no values"):
        streamed([np.zeros(0, np.float32)]).magnitudes()


@pytest.mark.parametrize("largest", [1e-30, 0.99, 1.0, 16384.0, 3.0e38])
def test_at_least_half_of_the_bins_are_in_use(largest: float) -> None:
    width = 2.0 ** exponent_for(largest)
    assert CAPACITY // 2 <= largest / width < CAPACITY


def test_coarser_bins_keep_every_value() -> None:
    magnitudes = Magnitudes(np.arange(1, 11), 0.5)
    coarse = magnitudes.coarsened(4)
    assert coarse == Magnitudes(coarse.counts, 2.0)
    assert coarse.counts.tolist() == [10, 26, 19]
    assert magnitudes.coarsened(10).counts.tolist() == magnitudes.counts.tolist()
