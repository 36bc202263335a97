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
    seen: Sequence[float],
) -> float:
    """Return by how many dB samples that the ranges have not seen are noisier than those they have.

    Every second sample is judged twice: with ranges of all samples, and with ranges of the others.
    Half of what that loses is what counts: all samples are twice as many as half of them, and are
    exceeded half as often. 0 of few samples. A search for a gate aims higher by it: whoever judges
    the form later has other data.

    Args:
        tensors: Activations that ranges are needed of.
        samples: The judge's.
        seen: Each sample's value with ranges of all samples.

    Raises:
        QuantizationError: As Judge.quality.
    """
    if len(samples) < _FEWEST:
        return 0.0
    others = observe(writer.model, tensors, KeptSamples(samples[::2], 1), writer.folder)
    unseen = judge.values(writer.quantized(ranges_of(others)), range(1, len(samples), 2))
    return noise_gap(judge, seen[1::2], unseen) / 2


def noise_gap(judge: Judge, seen: Sequence[float], unseen: Sequence[float]) -> float:
    """Return by how many dB, 0 to 6, the noise of unseen values is above that of seen ones."""
    before, after = (noise_of(judge.aggregated(part), judge.metric) for part in (seen, unseen))
    if min(before, after) <= 0:
        return 0.0
    return min(max(10 * math.log10(after / before), 0.0), _MOST_DB)
