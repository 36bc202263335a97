"""An exact streaming histogram of magnitudes, in constant memory.

Bin edges are multiples of a power of two, so two adjacent bins are exactly one bin of twice the
width: widening loses nothing. The result depends only on the values, not on their order or
batching, to the last count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CAPACITY = 16384
"""Bins held. At least half of them are in use, so a bin is at most 1/8192 of the largest value."""

# Below it the reciprocal of the width would exceed float32's range.
_SMALLEST_EXPONENT = -120
# Values counted at a time: bounds the temporary arrays to a few MiB.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Magnitudes:
    """Histogram of magnitudes.

    Attributes:
        counts: Bin k counts the values with k * width <= |value| < (k + 1) * width; the last bin
            is not empty.
        width: Bin width in the tensor's units; a power of two.
    """

    counts: NDArray[np.int64]
    width: float

    def coarsened(self, bins: int) -> Magnitudes:
        """Return it with more than bins / 2 and at most `bins` bins; unchanged if it has fewer."""
        factor = 1
        while math.ceil(len(self.counts) / factor) > bins:
            factor *= 2
        padded = np.pad(self.counts, (0, -len(self.counts) % factor))
        return Magnitudes(padded.reshape(-1, factor).sum(axis=1), self.width * factor)


class RangeObserver:
    """Minimum, maximum and magnitude histogram of a tensor's values.

    Attributes:
        lowest, highest: Of all finite values added; inf and -inf before any.
        count: Number of finite values added.
    """

    def __init__(self) -> None:
        self.lowest = math.inf
        self.highest = -math.inf
        self.count = 0
        self._exponent = _SMALLEST_EXPONENT
        self._counts = np.zeros(CAPACITY, np.int64)

    def add(self, values: NDArray[Any]) -> bool:
        """Add the finite values; return whether that is all of them.

        Args:
            values: Any shape, may be empty; floating point.
        """
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not flat.size:
            return True
        lowest, highest = float(flat.min()), float(flat.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            self.add(flat[np.isfinite(flat)])
            return False
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._widen(max(-self.lowest, self.highest))
        scale = np.float32(2.0**-self._exponent)
        for start in range(0, flat.size, _CHUNK):
            # Exact: the scale is a power of two; the cast rounds down.
            bins = (np.abs(flat[start : start + _CHUNK]) * scale).astype(np.int32)
            found = np.bincount(bins)
            self._counts[: found.size] += found
        self.count += flat.size
        return True

    def _widen(self, largest: float) -> None:
        """Merge pairs of bins until they cover a magnitude."""
        needed = max(_SMALLEST_EXPONENT, exponent_for(largest))
        while self._exponent < needed:
            if not self.count:
                self._exponent = needed
                return
            self._counts[: CAPACITY // 2] = self._counts[::2] + self._counts[1::2]
            self._counts[CAPACITY // 2 :] = 0
            self._exponent += 1

    def magnitudes(self) -> Magnitudes:
        """Return the histogram up to its last non-empty bin.

        Raises:
            ValueError: No values were added.
        """
        if not self.count:
            raise ValueError("no values were observed")
        used = int(np.flatnonzero(self._counts)[-1]) + 1
        return Magnitudes(self._counts[:used].copy(), 2.0**self._exponent)


def exponent_for(largest: float) -> int:
    """Return the smallest e with largest < CAPACITY * 2**e; very small for 0."""
    if largest <= 0:
        return _SMALLEST_EXPONENT
    _, exponent = math.frexp(largest)  # largest < 2**exponent
    return exponent - (CAPACITY.bit_length() - 1)
