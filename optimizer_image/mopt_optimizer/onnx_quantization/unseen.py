"""What a quantized model loses on data that its ranges were not calibrated on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .judging import Judge, noise_of
from .observing import KeptSamples, Observations, Sample, observe
from .qdq import QdqWriter
from .sensitivity import Ranges

_FEWEST = 4
# One odd sample among few must not ask for everything in FP32.
_MOST_DB = 6.0


def lost_on_unseen(
    writer: QdqWriter,
    tensors: Sequence[str],
    judge: Judge,
    samples: Sequence[Sample],
    ranges_of: Callable[[Observations], Ranges],
) -> float:
    """Return by how many dB the noise on unseen samples is above that on calibrated ones.

    Learned from one half of the samples, with ranges of the other half; 0 of few samples. A search
    for a gate aims higher by it: whoever judges the form has other samples.

    Args:
        tensors: Activations that ranges are needed of.
        samples: The judge's.

    Raises:
        QuantizationError: As Judge.quality.
    """
    if len(samples) < _FEWEST:
        return 0.0
    half = KeptSamples(samples[::2], 1)
    ranges = ranges_of(observe(writer.model, tensors, half, writer.folder))
    values = judge.values(writer.quantized(ranges))
    return noise_gap(judge, values[::2], values[1::2])


def noise_gap(judge: Judge, seen: Sequence[float], unseen: Sequence[float]) -> float:
    """Return by how many dB, 0 to 6, the noise of unseen values is above that of seen ones."""
    before, after = (noise_of(judge.aggregated(part), judge.metric) for part in (seen, unseen))
    if min(before, after) <= 0:
        return 0.0
    return min(max(10 * math.log10(after / before), 0.0), _MOST_DB)
