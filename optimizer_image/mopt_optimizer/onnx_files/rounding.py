"""What a model makes of rounding errors.

Of a constant picture a normalization sees nothing else, and brings it to full scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of FP32, after some layers.
_ROUNDING = 1e-6
_ROUNDINGS = 3

Run = Callable[[dict[str, NDArray[Any]]], Sequence[NDArray[Any]]]


def moved_by_rounding(run: Run, inputs: Mapping[str, NDArray[Any]]) -> list[float]:
    """Return how far each output moves where inputs are changed by no more than rounding errors."""
    generator = np.random.default_rng(0)
    still = run(dict(inputs))
    moved = [
        run({name: _with_rounding(array, generator) for name, array in inputs.items()})
        for _ in range(_ROUNDINGS)
    ]
    return [_furthest(*outputs) for outputs in zip(still, *moved, strict=True)]


def _furthest(still: NDArray[Any], *moved: NDArray[Any]) -> float:
    """Return the largest finite distance; 0 where there is none to tell."""
    if still.dtype.kind not in "fiub" or any(other.shape != still.shape for other in moved):
        return 0.0
    apart = np.abs(np.stack(moved).astype(np.float64) - still)
    return float(apart.max(initial=0.0, where=np.isfinite(apart)))


def _with_rounding(array: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    noise = generator.uniform(-_ROUNDING, _ROUNDING, array.shape) * np.maximum(np.abs(array), 1)
    moved: NDArray[Any] = (array + noise).astype(array.dtype)
    return moved
