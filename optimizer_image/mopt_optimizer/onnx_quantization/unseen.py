"""What a quantized model loses on data that its ranges were not calibrated on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .judging import Judge, Judged
from .observing import Sample
from .writing import Recalibrate

_FEWEST = 4
# One odd sample among few must not ask for everything in FP32.
_MOST_DB = 6.0


def lost_on_unseen(
    judge: Judge,
    samples: Sequence[Sample],
    recalibrate: Recalibrate,
    seen: Judged,
) -> float:
    """Return by how many dB samples that the ranges have not seen are noisier than those they have.

    Every second sample is judged twice: with ranges of all samples, and with ranges of the others.
    Half of what that loses is what counts: all samples are twice as many as half of them, and are
    exceeded half as often. 0 of few samples. A search for a gate aims higher by it: whoever judges
    the form later has other data.

    Args:
        samples: The judge's.
        seen: What is reached with ranges of all samples.

    Raises:
        QuantizationError, ComparisonError, SpecError: As Judge.judged.
    """
    if len(samples) < _FEWEST:
        return 0.0
    every_second = range(1, len(samples), 2)
    unseen = judge.judged(recalibrate(samples[::2]).quantized(), every_second)
    return noise_gap(judge.margin(seen.some(every_second)), judge.margin(unseen)) / 2


def noise_gap(seen: float, unseen: float) -> float:
    """Return by how many dB, 0 to 6, the margin on unseen data is below that on seen data."""
    if not (math.isfinite(seen) and math.isfinite(unseen)):
        return 0.0
    return min(max(seen - unseen, 0.0), _MOST_DB)
