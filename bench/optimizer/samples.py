"""Samples of a subject in one file, for processes of both environments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = dict[str, NDArray[Any]]


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as one .npz."""
    # Typed so that no key can be taken for an option of savez.
    arrays: dict[str, Any] = {f"{i:04}/{k}": v for i, s in enumerate(samples) for k, v in s.items()}
    np.savez(path, **arrays)


def read_samples(path: Path) -> list[Sample]:
    """Return the samples that write_samples wrote, in their order."""
    samples: dict[str, Sample] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            number, _, name = key.partition("/")
            samples.setdefault(number, {})[name] = arrays[key]
    return [samples[number] for number in sorted(samples)]


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return so many items at most, evenly over all of them."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]
