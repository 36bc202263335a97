"""Largest absolute difference of any value."""

from __future__ import annotations

import numpy as np

from mopt_optimizer.quality.comparable import Array, Options, finite_values


def max_abs_error(reference: Array, output: Array) -> float:
    """Return the largest absolute difference of any value, in the output's own unit.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    expected, actual = finite_values(reference, output)
    return float(np.abs(expected - actual).max(initial=0))


def compute(reference: Array, output: Array, _data_range: float, _options: Options) -> float:
    """Return the max_abs_error of two outputs."""
    return max_abs_error(reference, output)
