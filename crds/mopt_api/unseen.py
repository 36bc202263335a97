"""What samples say of samples that were not seen, whatever their distribution. Pure.

Samples are taken as drawn independently from what the model will serve. Sources: Wilks 1941
(tolerance limits by order statistics), Clopper and Pearson 1934 (the share that misses).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

from .enums import QualityMetric
from .metrics import METRICS

CONFIDENCE = 0.95
SHARE = 0.05
"""Of new samples, at most this share is worse than a tolerance."""

# Halves an interval of length 1 down to less than any share that is shown.
_HALVINGS = 30


def tolerance(metric: QualityMetric, values: Sequence[float]) -> float | None:
    """Return the value that at least 95 % of new samples reach, with 95 % confidence.

    It is one of the values: the worst of 59 to 92, the second worst of 93 to 123, and so on.

    Returns:
        None where there are fewer than LEAST_SAMPLES values, which show no such thing, or one is
        not a number.
    """
    rank = tolerance_rank(len(values))
    if rank == 0 or any(math.isnan(value) for value in values):
        return None
    return sorted(values, reverse=not METRICS[metric].higher_is_better)[rank - 1]


def tolerance_rank(samples: int, share: float = SHARE, confidence: float = CONFIDENCE) -> int:
    """Return which of the values, from the worst, is the tolerance; 0 where none of them is."""
    most, total = 1 - confidence, 0.0
    for rank, probability in enumerate(_probabilities(samples, share)):
        total += probability
        if total > most:
            return rank
    return samples


def share_that_may_miss(misses: int, samples: int, confidence: float = CONFIDENCE) -> float:
    """Return the largest share of new samples that may miss what misses of samples missed.

    It is more with a probability of one minus the confidence.

    Args:
        samples: At least one.
    """
    if misses >= samples:
        return 1.0
    low, high = misses / samples, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_most = math.fsum(islice(_probabilities(samples, middle), misses + 1))
        low, high = (middle, high) if at_most > 1 - confidence else (low, middle)
    return high


def _probabilities(samples: int, share: float) -> Iterator[float]:
    """Yield how probable 0, 1, ... of samples are, where each is with a probability of share."""
    logarithm = samples * math.log1p(-share)
    odds = math.log(share) - math.log1p(-share)
    for count in range(samples + 1):
        yield math.exp(logarithm)
        logarithm += math.log(max(samples - count, 1)) - math.log(count + 1) + odds


LEAST_SAMPLES = math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-SHARE))
"""Of fewer samples, none is a tolerance: 59."""
