"""Which calibration samples a search chooses by, and which judge what it chose. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_optimizer.onnx_files.layers import Layer

from .observing import Sample

# Of fewer, each is needed to choose by.
_FEWEST = 8
_FEWEST_SEARCHED = 2


@dataclass(frozen=True)
class Split:
    """Samples to choose by, and others; the latter may be none."""

    searched: list[Sample]
    held_back: list[Sample]


def kept_for(searched: int) -> int:
    """Return how many samples to keep where so many are searched on."""
    return searched + searched // 2


def split_by_cost(
    samples: Sequence[Sample], layers: Sequence[Layer], most: int, most_macs: int | None
) -> Split:
    """Divide samples as split_samples, fewer of them where layers are costly.

    Args:
        most: To be searched on.
        most_macs: Multiply-accumulates of judging every layer once; None for no limit.
    """
    each = len(layers) * sum(layer.macs for layer in layers)
    if most_macs is not None and each:
        most = min(most, max(_FEWEST_SEARCHED, most_macs // each))
    return split_samples(samples, most)


def split_samples(samples: Sequence[Sample], most: int) -> Split:
    """Divide samples, both parts spread evenly.

    From eight samples on, some are held back: what is left of them, but a quarter at least, and no
    more than half as many as are searched on.

    Args:
        most: To be searched on.
    """
    total = len(samples)
    count = min(total, most)
    held_back = 0
    if total >= _FEWEST:
        held_back = min(max(total - count, total // 4), max(count // 2, 1))
        count = min(count, total - held_back)
    chosen = [index * total // count for index in range(count)]
    rest = [index for index in range(total) if index not in {*chosen}]
    others = [rest[index * len(rest) // held_back] for index in range(held_back)]
    return Split([samples[i] for i in chosen], [samples[i] for i in others])
