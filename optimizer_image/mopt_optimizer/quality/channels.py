"""The range of each channel of an output, over many samples. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .comparable import Array

_MOST_CHANNELS = 65536
_OF_PICTURES = (1, 3, 4)


@dataclass(frozen=True)
class Channels:
    """The finite values of each channel of one axis: an array of one element each.

    Attributes:
        low, high: Smallest and largest; inf and -inf where there is none.
        count: How many there are.
        zeros: How many of them are exactly 0.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: NDArray[np.int64]
    zeros: NDArray[np.int64]

    @classmethod
    def of(cls, array: Array, axis: int) -> Self:
        """Return those of one sample's output."""
        others = tuple(other for other in range(array.ndim) if other != axis)
        finite = np.isfinite(array)
        return cls(
            low=np.min(array, axis=others, initial=np.inf, where=finite).astype(np.float64),
            high=np.max(array, axis=others, initial=-np.inf, where=finite).astype(np.float64),
            count=np.sum(finite, axis=others, dtype=np.int64),
            zeros=np.sum(array == 0, axis=others, dtype=np.int64),
        )

    def merged(self, other: Self) -> Self:
        """Return those of both."""
        return type(self)(
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            count=self.count + other.count,
            zeros=self.zeros + other.zeros,
        )

    @property
    def spread(self) -> NDArray[np.float64]:
        """Largest less smallest value; 0 where there is none."""
        return np.where(self.count > 0, self.high - self.low, 0.0)

    @property
    def peak(self) -> NDArray[np.float64]:
        """Largest magnitude; 0 where there is no value."""
        return np.where(self.count > 0, np.maximum(np.abs(self.low), np.abs(self.high)), 0.0)


def channel_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of an output whose elements may be different quantities.

    Of a picture that is its channels' axis alone: its borders are no quantity of their own.
    Otherwise the last and the second, since the first counts the batch.
    """
    rank = len(shape)
    if rank <= 2:
        return (rank - 1,) if rank else ()
    if rank == 4 and shape[1] in _OF_PICTURES:
        return (1,)
    if rank == 4 and shape[3] in _OF_PICTURES:
        return (3,)
    return (1, rank - 1)


class OutputRanges:
    """The ranges of one output, sample by sample. Of numbers with a fraction only.

    Attributes:
        whole: All values as one channel; None before any sample.
        rank: Of the output.
        axes: The channels of each axis that has one size in all samples.
    """

    def __init__(self) -> None:
        self.whole: Channels | None = None
        self.rank = 0
        self.axes: dict[int, Channels] = {}

    def add(self, array: Array) -> None:
        """Take in the next sample's output."""
        if array.dtype.kind != "f":
            return
        whole = Channels.of(array.reshape(1, -1), 0)
        found = {
            axis: Channels.of(array, axis)
            for axis in channel_axes(array.shape)
            if array.shape[axis] <= _MOST_CHANNELS
        }
        if self.whole is None:
            self.whole, self.rank, self.axes = whole, array.ndim, found
            return
        self.whole = self.whole.merged(whole)
        self.axes = {
            axis: known.merged(found[axis])
            for axis, known in self.axes.items()
            if array.ndim == self.rank
            and axis in found
            and found[axis].low.shape == known.low.shape
        }
