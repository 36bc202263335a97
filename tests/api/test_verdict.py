"""Ratios and their bounds, for people."""

from __future__ import annotations

import pytest

from mopt_api.verdict import ratio_in_words


@pytest.mark.parametrize(
    ("ratio", "interval", "said"),
    [
        (4.93, None, "4.9x"),
        (4.93, [4.71, 5.16], "4.9x [4.7, 5.2]"),
        (2.0, [1.999, 2.001], "2.000x [1.999, 2.001]"),
        (1.5, [0.3, 30.0], "1.5x [0.3, 30.0]"),
        (1.14, [0.0, 1.658e11], "1.1x [too few rounds]"),
        (1.0, [1e-17, 1e17], "1.0x [too few rounds]"),
    ],
)
def test_bounds_are_told_where_they_say_something(
    ratio: float, interval: list[float] | None, said: str
) -> None:
    assert ratio_in_words(ratio, interval) == said
