"""Statistics of a set of samples, taken a sample at a time while each is checked. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.inputs import ImageTransform
from mopt_api.jobs.data_statistics import ChannelStatistics, DataStatistics, InputStatistics

from .samples import Inputs, Patches

PATCH_SIDE = 11
"""At most: the largest kernel of a first convolution in use."""
_PATCHES = 32
_PATCHED_SAMPLES = 64
_CHANNELS = (1, 3, 4)
_NUMBERS = "fiub"


def channel_axis(array: NDArray[Any]) -> int | None:
    """Return the axis of an image input's channels; None where it is no image."""
    if array.ndim != 4 or array.dtype.kind != "f" or min(array.shape[2], array.shape[1]) < 1:
        return None
    if array.shape[1] in _CHANNELS and min(array.shape[2:]) > 1:
        return 1
    return 3 if array.shape[3] in _CHANNELS and min(array.shape[1:3]) > 1 else None


class SetStatistics:
    """Accumulates; keeps no sample, only a few pieces of each image.

    Args:
        count: How many samples there are going to be.
        images: How images become inputs; None for arrays.
    """

    def __init__(self, count: int, images: ImageTransform | None) -> None:
        self._images = images
        self._stride = -(-count // _PATCHED_SAMPLES) or 1
        self._samples = 0
        self._digests: set[bytes] = set()
        self._inputs: dict[str, _InputFigures] = {}

    def add(self, sample: Inputs) -> None:
        """Take in the next sample."""
        digest = hashlib.sha256()
        for name, array in sample.items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
            if array.dtype.kind not in _NUMBERS:
                continue
            figures = self._inputs.setdefault(name, _InputFigures(array.dtype.name))
            figures.add(array)
            if self._samples % self._stride == 0:
                figures.cut(array, self._samples)
        self._digests.add(digest.digest())
        self._samples += 1

    def result(self) -> DataStatistics:
        """Return what was found; at least one sample was added."""
        return DataStatistics(
            samples=self._samples,
            distinct=len(self._digests),
            inputs=[figures.result(name) for name, figures in self._inputs.items()],
            images=self._images,
        )

    def patches(self) -> Patches:
        """Return the pieces of the images."""
        return {
            name: np.stack(figures.patches)
            for name, figures in self._inputs.items()
            if figures.patches
        }


@dataclass
class _InputFigures:
    """Sums over one input's samples so far."""

    dtype: str
    axis: int | None = None
    low: float = math.inf
    high: float = -math.inf
    at_low: int = 0
    at_high: int = 0
    values: int = 0
    whole: bool = True
    constant: int = 0
    sums: list[NDArray[np.float64]] = field(default_factory=list)
    squares: list[NDArray[np.float64]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    roughness: list[float] = field(default_factory=list)
    patches: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, array: NDArray[Any]) -> None:
        self.axis = axis = channel_axis(array)
        planes = _planes(array, axis)
        low, high = float(planes.min()), float(planes.max())
        self._extremes(planes, low, high)
        self.values += planes.size
        self.whole = self.whole and all(np.array_equal(plane, np.rint(plane)) for plane in planes)
        self.constant += low == high
        self.sums.append(planes.mean(axis=1, dtype=np.float64))
        self.squares.append(_mean_squares(planes))
        self.sizes.append(planes.shape[1])
        self.peaks.append(max(abs(low), abs(high)))
        std = math.sqrt(max(self.squares[-1].mean() - self.sums[-1].mean() ** 2, 0))
        if axis is not None and std > 0:
            self.roughness.append(_mean_step(array, axis) / std)

    def _extremes(self, planes: NDArray[Any], low: float, high: float) -> None:
        if low <= self.low:
            self.at_low = self.at_low if low == self.low else 0
            self.low = low
        if high >= self.high:
            self.at_high = self.at_high if high == self.high else 0
            self.high = high
        self.at_low += int(np.count_nonzero(planes == self.low))
        self.at_high += int(np.count_nonzero(planes == self.high))

    def cut(self, array: NDArray[Any], seed: int) -> None:
        """Keep pieces of an image, as large as those of the first."""
        if self.axis is None:
            return
        picture = np.moveaxis(array, self.axis, 1)[0]
        side = self.patches[0].shape[-1] if self.patches else min(PATCH_SIDE, *picture.shape[1:])
        if min(picture.shape[1:]) < side:
            return
        rows, columns = (
            np.random.default_rng(seed + axis).integers(0, picture.shape[axis] - side + 1, _PATCHES)
            for axis in (1, 2)
        )
        pieces = [
            picture[:, row : row + side, column : column + side]
            for row, column in zip(rows, columns, strict=True)
        ]
        self.patches.append(np.stack(pieces).astype(np.float32))

    def result(self, name: str) -> InputStatistics:
        """Return the figures of all samples."""
        sizes = np.asarray(self.sizes, np.float64)
        weights = sizes / sizes.sum()
        same = len({len(found) for found in self.sums}) == 1
        means = np.stack(self.sums) if same else np.array([[s.mean()] for s in self.sums])
        squares = np.stack(self.squares) if same else np.array([[s.mean()] for s in self.squares])
        with np.errstate(over="ignore", invalid="ignore"):  # float64 inputs may be of any size.
            mean = weights @ means
            std = np.sqrt(np.maximum(weights @ squares - np.square(mean), 0))
            spread = means.std(axis=0, ddof=1) if len(means) > 1 else np.zeros_like(mean)
        mean, std, spread = (np.nan_to_num(array) for array in (mean, std, spread))
        return InputStatistics(
            name=name,
            dtype=self.dtype,
            image=self.axis is not None,
            low=self.low,
            high=self.high,
            whole=self.whole,
            at_low=self.at_low / self.values,
            at_high=self.at_high / self.values,
            constant=self.constant,
            channels=[
                ChannelStatistics(mean=float(m), std=float(s), spread=float(b))
                for m, s, b in zip(mean, std, spread, strict=True)
            ],
            roughness=float(np.median(self.roughness)) if self.roughness else None,
            tilt_spread=_tilt_spread(means),
            peak_ratio=_peak_ratio(self.peaks),
        )


def _planes(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return the values by channel, shape (channels, values)."""
    plain = array.astype(np.uint8) if array.dtype.kind == "b" else array
    if axis is None:
        return plain.reshape(1, -1)
    return np.moveaxis(plain, axis, 0).reshape(plain.shape[axis], -1)


def _mean_squares(planes: NDArray[Any]) -> NDArray[np.float64]:
    # In float64 without a copy of all values in it: images may have 64 megapixels.
    sums: NDArray[np.float64] = np.einsum(
        "ij,ij->i", planes, planes, dtype=np.float64, casting="unsafe"
    )
    means: NDArray[np.float64] = sums / planes.shape[1]
    return means


def _mean_step(array: NDArray[Any], axis: int) -> float:
    """Return the mean difference of neighbours in a row."""
    steps = [
        np.abs(np.diff(plane, axis=-1)).mean(dtype=np.float64)
        for plane in np.moveaxis(array, axis, 0)
    ]
    return float(np.mean(steps))


def _peak_ratio(peaks: Sequence[float]) -> float:
    some = [peak for peak in peaks if peak > 0]
    if not some:
        return 1.0
    middle = float(np.median(some))
    return max(max(some) / middle, middle / min(some))


def _tilt_spread(means: NDArray[np.float64]) -> float | None:
    if means.shape[1] != 3 or len(means) < 2:
        return None
    return float(np.nan_to_num((means[:, 0] - means[:, 2]).std(ddof=1)))
