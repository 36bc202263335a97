"""Cosine of the angle between two outputs."""

from __future__ import annotations

import numpy as np

from mopt_optimizer.quality.comparable import Array, Options, finite_values


def cosine(reference: Array, output: Array) -> float:
    """Return the cosine of the angle between the outputs, each flattened to one vector.

    Two zero vectors give 1; one zero vector has no direction and gives 0.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    expected, actual = finite_values(reference, output)
    # Divide by the peaks first: squares of small or large values would under- or overflow.
    peaks = float(np.abs(expected).max(initial=0)), float(np.abs(actual).max(initial=0))
    if 0 in peaks:
        return 1.0 if peaks == (0, 0) else 0.0
    expected, actual = expected / peaks[0], actual / peaks[1]
    norms = float(np.linalg.norm(expected)) * float(np.linalg.norm(actual))
    return max(-1.0, min(1.0, float(expected @ actual) / norms))


def compute(reference: Array, output: Array, _data_range: float, _options: Options) -> float:
    """Return the cosine of two outputs."""
    return cosine(reference, output)
