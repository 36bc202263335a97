"""NaN and infinity are compared by their places; other values by their distance."""

from __future__ import annotations

import numpy as np
import pytest

from mopt_optimizer.onnx_files.verify import difference

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
