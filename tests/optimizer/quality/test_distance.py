"""A form in FP32 differs by rounding alone."""

from __future__ import annotations

import numpy as np
import pytest

from mopt_optimizer.quality import Distance


def fault(reference: np.ndarray, output: np.ndarray, samples: int = 1) -> str | None:
    distance = Distance()
    for _ in range(samples):
        distance.add([reference], [output])
    return distance.fault(["y"])


VALUES = np.random.default_rng(0).normal(size=1000).astype(np.float32)


@pytest.mark.parametrize(
    ("relative", "is_far"), [(0.0, False), (1e-6, False), (5e-4, False), (0.002, True), (1.0, True)]
)
def test_noise_of_a_thousandth_is_no_rounding(relative: float, *, is_far: bool) -> None:
    other = VALUES * np.float32(1 + relative)
    assert (fault(VALUES, other) is not None) is is_far


def test_words_name_the_output_and_the_distance() -> None:
    said = fault(VALUES, VALUES * np.float32(1.1), samples=3)
    assert said is not None
    assert said.startswith("output y is 20.0 dB from the baseline's: another function")


def test_one_silent_sample_beside_loud_ones_is_no_fault() -> None:
    distance = Distance()
    distance.add([VALUES], [VALUES])
    distance.add([VALUES * np.float32(1e-9)], [VALUES * np.float32(2e-9)])
    assert distance.fault() is None


@pytest.mark.parametrize(("changed", "is_far"), [(0, False), (10, False), (11, True)])
def test_integers_may_change_at_ties_alone(changed: int, *, is_far: bool) -> None:
    classes = np.arange(1000)
    other = classes.copy()
    other[:changed] += 500
    assert (fault(classes, other) is not None) is is_far


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.full(3, np.nan), np.array(["a"]), np.zeros((0, 4)), np.array([True])]
)
def test_what_holds_no_numbers_or_nothing_is_no_fault(values: np.ndarray) -> None:
    assert fault(values, values) is None


def test_second_output_counts_by_itself() -> None:
    distance = Distance()
    distance.add([VALUES * 1000, VALUES], [VALUES * 1000, VALUES * np.float32(1.1)])
    said = distance.fault(["big", "small"])
    assert said is not None
    assert said.startswith("output small is 20.0 dB")
