"""Samples in other shapes than they came in: where noise may be no input of the model. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .samples import Inputs

Shape = tuple[int, ...]


def fitted(
    samples: Sequence[Mapping[str, NDArray[Any]]], shapes: Mapping[str, Sequence[int]]
) -> Inputs:
    """Return inputs of given shapes, made of as few samples as are needed.

    Each axis is cropped from its origin, or repeated; along the outermost one samples follow each
    other. So ids, indices and sizes stay ones that the model knows.

    Args:
        samples: One at least. Each holds every input, of the rank that its shape has.
    """
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    taken: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    short = set(wanted)
    for sample in samples:
        for name in sorted(short):
            shape, array = wanted[name], np.atleast_1d(sample[name])
            taken[name].append(_fitted(array, (array.shape[0], *shape[1:])))
            if sum(map(len, taken[name])) >= max(shape[:1], default=1):
                short.discard(name)
        if not short:
            break
    return {name: _joined(arrays, wanted[name]) for name, arrays in taken.items()}


def _joined(arrays: Sequence[NDArray[Any]], shape: Shape) -> NDArray[Any]:
    made = _fitted(np.concatenate(arrays), shape or (1,))
    return np.ascontiguousarray(made).reshape(shape)


def _fitted(array: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Return the array cropped from its origin, or repeated, along each axis to a shape."""
    repeats = [math.ceil(size / have) for size, have in zip(shape, array.shape, strict=True)]
    return np.tile(array, repeats)[tuple(slice(size) for size in shape)]
