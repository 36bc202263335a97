"""Finds the parts of an output that differ in scale, such as boxes beside scores. Pure.

Cosine, SQNR and PSNR of the whole say nothing of a part whose values are small beside the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .channels import Channels, OutputRanges
from .comparable import Array

Indices = NDArray[np.intp]

SCALES = 16.0
"""Ratio of the largest values of two parts. At this one, four columns of boxes and eighty of scores
that are all 0 have a cosine of 0.987 and more."""
# Between the smallest channel of one part and the largest of the next; within one they are closer.
_GAP = 3.0
# Parts lie together on their axis. Many pieces are channels of one quantity, some of them weak.
_MOST_PIECES = 8
_RARELY = 0.9
_FEW = 0.05
_ROUNDING = 1e-6
SILENT = 0.05
"""Of a part's largest value: a sample in which it stays below has nothing in that part to judge."""


@dataclass(frozen=True)
class Part:
    """Channels of one axis of an output.

    Attributes:
        output: Its position.
        axis: Counted from 0.
        channels: Their indices, in order.
        label: For people: boxes[..., 4:84].
        peak: Largest magnitude of any value.
    """

    output: int
    axis: int
    channels: Indices
    label: str
    peak: float

    def of(self, array: Array) -> Array:
        """Return this part of an output."""
        return array.take(self.channels, axis=self.axis)

    def is_silent(self, array: Array) -> bool:
        """Return whether this part of one sample's output is small beside its other samples."""
        finite = array[np.isfinite(array)]
        return float(np.abs(finite).max(initial=0)) <= SILENT * self.peak


def parts_by_scale(name: str, output: int, ranges: OutputRanges) -> list[Part]:
    """Return the parts of an output that differ in scale; none where all channels are alike.

    Args:
        name: The output's, for labels.
        output: Its position.
    """
    found: list[list[Part]] = [[]]
    for axis, channels in ranges.axes.items():
        groups, peak = groups_by_scale(channels), channels.peak
        found.append(
            [
                Part(output, axis, group, label(name, ranges.rank, axis, group), peak[group].max())
                for group in groups
            ]
        )
    # Where two axes have some, the one of larger contrast: it is that of the quantities.
    return max(found, key=_contrast)


def _contrast(parts: Sequence[Part]) -> float:
    peaks = [part.peak for part in parts]
    return max(peaks) / min(peaks) if peaks else 0.0


def groups_by_scale(channels: Channels) -> list[Indices]:
    """Return the channels of one axis in groups that differ in scale; none where there is one.

    Channels that hold nothing but zeros are in no group.
    """
    groups = _split(np.flatnonzero(channels.peak > 0), channels)
    return groups if len(groups) > 1 else []


def _split(indices: Indices, channels: Channels) -> list[Indices]:
    """Cut at the widest gap that divides two quantities, and so on on both sides."""
    peak = channels.peak
    order = indices[np.argsort(-peak[indices], kind="stable")]
    ranked = peak[order]
    gaps = ranked[:-1] / ranked[1:]
    for cut in np.argsort(-gaps, kind="stable"):
        if gaps[cut] < _GAP:
            break
        upper, lower = np.sort(order[: cut + 1]), np.sort(order[cut + 1 :])
        if (
            ranked[0] >= SCALES * ranked[cut + 1]
            and _pieces(indices, upper) <= _MOST_PIECES
            and not _of_one_quantity(upper, lower, channels)
        ):
            return [*_split(upper, channels), *_split(lower, channels)]
    return [indices]


def _pieces(indices: Indices, some: Indices) -> int:
    inside = np.isin(indices, some)
    return 1 + int(np.count_nonzero(inside[1:] != inside[:-1]))


def _of_one_quantity(upper: Indices, lower: Indices, channels: Channels) -> bool:
    """Return whether the smaller channels are weak ones of the same quantity, or nothing.

    Shares, from 0 to 1, are one quantity: a class that is hardly ever seen is no part of its own.
    Nor is what is 0 nearly everywhere, as behind a Relu, or what never changes, or a few channels
    among many that are as small as rounding errors of the others: trained embeddings have such.
    """
    if (
        lower.size <= _FEW * upper.size
        and channels.peak[lower].max() <= _ROUNDING * channels.peak[upper].max()
    ):
        return True
    both = np.concatenate([upper, lower])
    shares = channels.low[both].min() >= 0 and channels.high[both].max() <= 1
    rare = channels.zeros[lower].sum() >= _RARELY * channels.count[lower].sum()
    still = channels.spread[lower].max() <= 1e-6 * channels.peak[lower].max()
    return bool(shares or rare or still)


def label(name: str, rank: int, axis: int, channels: Indices) -> str:
    """Return channels of an output as Python would index them, two ranges joined by +."""
    starts = np.flatnonzero(np.diff(channels, prepend=channels[0] - 2) != 1)
    ends = np.append(starts[1:], len(channels)) - 1
    ranges = [f"{channels[i]}:{channels[j] + 1}" for i, j in zip(starts, ends, strict=True)]
    shown = "+".join([*ranges[:4], "..."] if len(ranges) > 4 else ranges)
    if rank > 1 and axis == rank - 1:
        return f"{name}[..., {shown}]"
    return f"{name}[{':, ' * axis}{shown}]"
