"""NaN and infinity are compared by their places; other values by their distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_optimizer.errors import ComparisonError
from mopt_optimizer.onnx_files.verify import difference
from mopt_optimizer.quality.comparable import check_pair

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("found", "expected", "passed"),
    [
        ([-INF, 1.0, NAN], [-INF, 1.0, NAN], True),
        ([-INF, -INF], [-INF, -INF], True),
        ([-INF, 1.1], [-INF, 1.0], False),
        ([INF, 1.0], [-INF, 1.0], False),
        ([NAN, 1.0], [-INF, 1.0], False),
        ([1.0, NAN], [1.0, 1.0], False),
        ([1.0, 1.0], [1.0, -INF], False),
    ],
)
def test_same_places_are_equal(found: list[float], expected: list[float], passed: bool) -> None:
    arrays = [np.array(values, np.float32) for values in (found, expected)]
    assert difference("y", *arrays).passed is passed


@pytest.mark.parametrize(
    ("found", "expected", "passed"),
    [
        (np.zeros((0, 5)), np.zeros((0, 5)), True),
        (np.zeros((1, 5)), np.zeros((0, 5)), False),
        (np.array(["cat"]), np.array(["cat"]), True),
        (np.array(["dog"], object), np.array(["cat"], object), False),
        (np.array([3, 4]), np.array([3, 4]), True),
        (np.array([3, 5]), np.array([3, 4]), False),
        (np.array([True]), np.array([False]), False),
        (np.array([1e6 + 1]), np.array([1e6]), True),
    ],
    ids=["empty", "a row", "text", "other text", "integers", "other", "booleans", "rounding"],
)
def test_what_is_no_float_is_equal_or_not(
    found: NDArray[Any], expected: NDArray[Any], passed: bool
) -> None:
    assert difference("y", found, expected).passed is passed


@pytest.mark.parametrize("found", [[1.0, NAN], [-INF, NAN], [1.0, -INF], [[1.0, 2.0]], [NAN, NAN]])
@pytest.mark.parametrize("expected", [[1.0, NAN], [1.0, -INF], [1.0, 2.0], [NAN, NAN]])
def test_what_can_be_compared_is_what_a_measurement_compares(
    found: list[Any], expected: list[float]
) -> None:
    arrays = np.array(found), np.array(expected)
    result = difference("y", *arrays)
    message = None
    try:
        check_pair("output y", arrays[1], arrays[0])
    except ComparisonError as error:
        message = str(error)
    assert np.isfinite(result.max_abs_error) == (message is None)
    assert message in (None, result.message)
    assert message is None or not result.passed
