"""Weights as integers of 8 or 4 bits and their scales, from the weights alone. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import NonFiniteWeight

_PEAK = 127
_LOW, _HIGH = -8, 7
# Of the largest magnitude of a block: less cuts it off, and makes finer steps for all the others.
_SHRINKING = (1.0, 0.95, 0.9, 0.85, 0.8)
BLOCKS = (128, 64, 32)
"""Values that have a scale in common in 4 bits: the most that divides their number."""

Floats = NDArray[np.float32]


class Integers(NamedTuple):
    """Integers, and what they are multiplied by.

    Attributes:
        steps: Of the weight's shape.
        scales: Shape (channels,); of blocks the weight's, with blocks in place of their values.
    """

    steps: NDArray[np.int8]
    scales: Floats


def channel_scales(weight: Floats, axis: int, name: str) -> Floats:
    """Return the scale that maps each channel onto [-127, 127]; 1 for all-zero channels.

    Raises:
        NonFiniteWeight: The weight holds NaN or infinity.
    """
    others = tuple(a for a in range(weight.ndim) if a != axis)
    peaks = np.maximum(weight.max(axis=others), -weight.min(axis=others))
    if not np.isfinite(peaks).all():
        raise NonFiniteWeight(f"weight {name!r} holds NaN or infinity")
    steps = peaks / np.float32(_PEAK)
    return np.where(steps > 0, steps, np.float32(1)).astype(np.float32)


def in_eight_bits(weight: Floats, axis: int, scales: Floats) -> NDArray[np.int8]:
    """Return a weight's steps.

    Args:
        scales: Of channels along axis.
    """
    shape = [1] * weight.ndim
    shape[axis] = -1
    steps: NDArray[np.int8] = np.clip(
        np.rint(weight / scales.reshape(shape)), -_PEAK, _PEAK
    ).astype(np.int8)
    return steps


def block_of(values: int) -> int | None:
    """Return the block size for so many values that are added up; None where none divides them."""
    return next((block for block in BLOCKS if values % block == 0), None)


def in_four_bits(weight: Floats, axis: int, block: int) -> Integers:
    """Return a weight's steps in [-8, 7], and the scale of each block of least squared error.

    Args:
        weight: Finite, of two axes.
        axis: Along which products are added up, and blocks lie.
    """
    blocks = _blocks(weight, axis, block)
    peaks = np.abs(blocks).max(axis=axis + 1, keepdims=True) / np.float32(_HIGH)
    peaks = np.where(peaks > 0, peaks, np.float32(1)).astype(np.float32)
    scales, least = peaks, np.full(peaks.shape, np.inf, np.float32)
    for shrinking in _SHRINKING:
        tried = peaks * np.float32(shrinking)
        error = ((_steps(blocks, tried) * tried - blocks) ** 2).sum(axis=axis + 1, keepdims=True)
        scales, least = np.where(error < least, tried, scales), np.minimum(error, least)
    steps = _steps(blocks, scales).astype(np.int8).reshape(weight.shape)
    return Integers(steps, scales.squeeze(axis + 1))


def relative_error(weight: Floats, axis: int, block: int) -> float:
    """Return the share of a weight's power that its 4 bits lose."""
    found = in_four_bits(weight, axis, block)
    blocks = _blocks(weight, axis, block)
    restored = found.steps.reshape(blocks.shape) * np.expand_dims(found.scales, axis + 1)
    power = float(np.square(blocks, dtype=np.float64).sum())
    lost = float(np.square(restored - blocks, dtype=np.float64).sum())
    return lost / power if power > 0 else 0.0


def _blocks(weight: Floats, axis: int, block: int) -> Floats:
    shape = list(weight.shape)
    shape[axis : axis + 1] = [shape[axis] // block, block]
    return weight.reshape(shape)


def _steps(blocks: Floats, scales: Floats) -> Floats:
    steps: Floats = np.clip(np.rint(blocks / scales), _LOW, _HIGH)
    return steps
