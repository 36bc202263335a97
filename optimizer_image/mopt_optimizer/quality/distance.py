"""Whether a form in FP32 is the model in other hands, or another function."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .comparable import Array, has_numbers, output_name, powers

LEAST_DB = 60.0
"""SQNR of an output over all samples: its noise is 0.1 % of it, as what an export may differ by.
Runtimes that compute the same in FP32, in another order, are 80 dB and more apart."""
MOST_CHANGED = 0.01
"""Share of an output's integers: of a thousand classes a few are decided by the last bit."""


@dataclass
class Distance:
    """Accumulates how far outputs are from the reference's; keeps no samples."""

    _signal: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    _noise: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    _changed: defaultdict[int, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Take the next sample's outputs, which can be compared; see check_comparable.

        An output with other numbers of rows, which some metrics take, counts for nothing here.
        """
        for index, (expected, found) in enumerate(zip(reference, outputs, strict=True)):
            if expected.shape != found.shape or not has_numbers(expected):
                continue
            if expected.dtype.kind in "iub":
                self._changed[index][0] += int(np.count_nonzero(expected != found))
                self._changed[index][1] += expected.size
                continue
            signal, noise = powers(expected, found)
            self._signal[index] += signal
            self._noise[index] += noise

    def fault(self, names: Sequence[str] = ()) -> str | None:
        """Return which output is too far from the reference's, and by what; None for none."""
        for index, noise in self._noise.items():
            signal = self._signal[index]
            if noise > signal * math.pow(10.0, -LEAST_DB / 10.0) and signal > 0:
                decibels = 10.0 * math.log10(signal / noise)
                return (
                    f"{output_name(names, index)} is {decibels:.1f} dB from the baseline's: "
                    "another function, since FP32 differs by rounding alone"
                )
        for index, (changed, count) in self._changed.items():
            if changed > MOST_CHANGED * count:
                return (
                    f"{output_name(names, index)} has {changed} of {count} integers other than the "
                    "baseline's: another function, since FP32 differs by rounding alone"
                )
        return None
