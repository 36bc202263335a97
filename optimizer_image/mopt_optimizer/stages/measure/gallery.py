"""Pictures of a comparison, for its page: where a few samples differ most from FP32.

Every comparison is observed, which keeps one coarse map of squared differences per variant: that
of its worst sample. Once all samples were seen, the samples worth showing and the part to show
are known; these few are then run once more and cut out. Memory is bounded by the number of
variants, whatever the number and size of the outputs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mopt_api.enums import ImageColor, ImageLayout
from mopt_api.inputs import ImageTransform
from mopt_api.jobs.crops import Crops, SampleCrops, VariantCrop
from mopt_optimizer.data.preprocessing import Preprocessing
from mopt_optimizer.quality import Array, NotAnImage, image_batch, psnr, ssim

Pixels = NDArray[np.float32]

MAX_SAMPLES = 3
MAX_SIDE = 256
# Fine enough to find the part that differs most, coarse enough to keep one map per variant.
_CELL = 32
_CHANNELS = (1, 3, 4)
# Mean square error, of a data range of 1, below which nothing can be seen at any amplification
# that also shows the others: 100 dB.
_INVISIBLE = 1e-10
_BRIGHT_SHARE = 99.5


@dataclass(frozen=True)
class Region:
    """A rectangle of an image in a batch, in pixels."""

    image: int
    top: int
    left: int
    height: int
    width: int

    def of(self, image: Array) -> Array:
        """Return the part of an image (height, width, channels)."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class _Worst:
    """A variant's worst sample so far: its mean square error, and the sums per cell."""

    error: float
    sample: int
    image: int
    cells: NDArray[np.float32]
    size: tuple[int, int]


@dataclass
class _Kept:
    """Cut parts of one sample, values as computed."""

    region: Region
    input: bytes
    reference: Array
    low: float
    span: float
    outputs: dict[str, Array] = field(default_factory=dict)


class Gallery:
    """Collects the pictures of one measurement. Outputs that are not images give none."""

    def __init__(self, data_range: float, transform: ImageTransform | None = None) -> None:
        """
        Args:
            data_range: Span of the outputs' values.
            transform: What the images went through on their way to the input.
        """
        self._range = data_range
        self._transform = Preprocessing.of(transform or ImageTransform())
        self._worst: dict[str, _Worst] = {}
        self._kept: dict[int, _Kept] = {}
        self._regions: dict[int, Region] = {}

    def observe(
        self,
        sample: int,
        variant: str,
        inputs: Mapping[str, Array],
        reference: Sequence[Array],
        outputs: Sequence[Array],
    ) -> None:
        """Record how a variant's outputs for a sample differ from FP32's."""
        index = _picture_index(reference)
        if index is None or self._input(inputs) is None:
            return
        pairs = zip(image_batch(reference[index]), image_batch(outputs[index]), strict=True)
        for number, (expected, actual) in enumerate(pairs):
            squares = np.square(np.subtract(actual, expected, dtype=np.float32)).mean(axis=2)
            error = float(squares.mean())
            known = self._worst.get(variant)
            if known is None or error > known.error:
                self._worst[variant] = _Worst(
                    error, sample, number, _cell_sums(squares), expected.shape[:2]
                )

    def chosen(self) -> list[int]:
        """Return the samples to show: each variant's worst, those of the worst variants first.

        Once any was kept the choice stays, so that variants that come later show the same.
        """
        if not self._regions:
            visible = _INVISIBLE * self._range**2
            for worst in sorted(self._worst.values(), key=lambda w: -w.error):
                if len(self._regions) == MAX_SAMPLES:
                    break
                if worst.sample not in self._regions and (
                    worst.error > visible or not self._regions
                ):
                    self._regions[worst.sample] = _densest(worst)
        return list(self._regions)

    def keep_reference(
        self, sample: int, inputs: Mapping[str, Array], reference: Sequence[Array]
    ) -> None:
        """Crop a chosen sample and its FP32 output."""
        index = _picture_index(reference)
        region = self._regions[sample]
        picture = self._input(inputs, region.image)
        if index is None or picture is None or sample in self._kept:
            return
        whole = image_batch(reference[index])[region.image]
        low, span = _display_range(whole, self._range)
        self._kept[sample] = _Kept(
            region=region,
            input=_encoded(_matching(picture, region, whole.shape[:2])),
            reference=region.of(whole).copy(),
            low=low,
            span=span,
        )

    def keep(self, sample: int, variant: str, outputs: Sequence[Array]) -> None:
        """Crop a variant's output for a chosen sample."""
        kept, index = self._kept.get(sample), _picture_index(outputs)
        if kept is not None and index is not None:
            image = image_batch(outputs[index])[kept.region.image]
            kept.outputs[variant] = kept.region.of(image).copy()

    def crops(self) -> Crops | None:
        """Return the pictures, or None where there are none."""
        samples = [self._sample(number, kept) for number, kept in self._kept.items()]
        return Crops(samples=samples) if samples else None

    def _sample(self, number: int, kept: _Kept) -> SampleCrops:
        reference = kept.reference.astype(np.float32)
        differences = {
            name: np.abs(output.astype(np.float32) - reference).max(axis=2) / kept.span
            for name, output in kept.outputs.items()
        }
        amplification = _amplification(list(differences.values()))

        def shown(values: Array) -> bytes:
            return _encoded(self._ordered((values.astype(np.float32) - kept.low) / kept.span))

        return SampleCrops(
            sample=number,
            left=kept.region.left,
            top=kept.region.top,
            width=kept.region.width,
            height=kept.region.height,
            amplification=amplification,
            input=kept.input,
            reference=shown(reference),
            variants=[
                VariantCrop(
                    variant=name,
                    output=shown(output),
                    difference=_encoded(differences[name][..., np.newaxis] * amplification),
                    psnr=psnr(reference, output, kept.span),
                    ssim=_ssim(reference, output, kept.span),
                )
                for name, output in kept.outputs.items()
            ],
        )

    def _ordered(self, pixels: Array) -> Array:
        """Outputs are assumed to have the input's channel order."""
        bgr = self._transform.color is ImageColor.BGR and pixels.shape[2] == 3
        return pixels[..., ::-1] if bgr else pixels

    def _input(self, inputs: Mapping[str, Array], image: int = 0) -> Pixels | None:
        """Return an image of the first input that holds pictures, as it was before the transform.

        Values 0 to 1.
        """
        transform = self._transform
        for array in inputs.values():
            if array.dtype.kind != "f" or array.ndim != 4:
                continue
            if array.shape[transform.channel_axis] not in _CHANNELS:
                continue
            images = image_batch(array, transform.layout)
            picture = images[min(image, len(images) - 1)].astype(np.float32)
            channels = picture.shape[2]
            if len(transform.std) == channels:
                picture = picture * np.asarray(transform.std, np.float32)
            if len(transform.mean) == channels:
                picture = picture + np.asarray(transform.mean, np.float32)
            picture = picture / np.float32(transform.scale * 255)
            low, span = _display_range(picture, 1.0)
            return self._ordered((picture - low) / span)
        return None


def _picture_index(outputs: Sequence[Array]) -> int | None:
    """Return which output people can look at: the first image of 1, 3 or 4 channels."""
    for index, array in enumerate(outputs):
        try:
            images = image_batch(array)
        except NotAnImage:
            continue
        if images and images[0].shape[2] in _CHANNELS:
            return index
    return None


def _cell_sums(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = (np.arange(0, side, _CELL) for side in squares.shape)
    sums: NDArray[np.float32] = np.add.reduceat(
        np.add.reduceat(squares, rows, axis=0), columns, axis=1
    )
    return sums


def _densest(worst: _Worst) -> Region:
    """Return the region of at most MAX_SIDE pixels a side with the largest sum."""
    height, width = (min(MAX_SIDE, side) for side in worst.size)
    window = tuple(
        min(have, max(1, side // _CELL))
        for have, side in zip(worst.cells.shape, (height, width), strict=True)
    )
    sums = np.lib.stride_tricks.sliding_window_view(worst.cells, window).sum(axis=(2, 3))
    row, column = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return Region(
        image=worst.image,
        top=min(int(row) * _CELL, worst.size[0] - height),
        left=min(int(column) * _CELL, worst.size[1] - width),
        height=height,
        width=width,
    )


def _display_range(image: Array, span: float) -> tuple[float, float]:
    """Return the values shown as black and as the span from it to white.

    0 is black, or middle grey where the values go clearly below it. Values that do not fit the
    declared span are stretched to their own.
    """
    lowest, highest = float(image.min()), float(image.max())
    low = -span / 2 if lowest < -0.1 * span else 0.0
    if lowest < low - span / 2 or highest > low + 1.5 * span:
        return lowest, max(highest - lowest, math.ulp(1.0))
    return low, span


def _matching(picture: Pixels, region: Region, size: tuple[int, int]) -> Pixels:
    """Return the part of the input that became a region of an output of that size."""
    scale = [have / out for have, out in zip(picture.shape[:2], size, strict=True)]
    top, left = int(region.top * scale[0]), int(region.left * scale[1])
    height = max(1, round(region.height * scale[0]))
    width = max(1, round(region.width * scale[1]))
    return picture[top : top + height, left : left + width][:MAX_SIDE, :MAX_SIDE]


def _amplification(differences: Sequence[Array]) -> float:
    """Return the power of two that brings all but the largest differences just below white."""
    peak = max((float(np.percentile(d, _BRIGHT_SHARE)) for d in differences), default=0.0)
    return 2.0 ** max(0, math.floor(math.log2(1 / peak))) if 0 < peak < 1 else 1.0


def _ssim(reference: Array, output: Array, span: float) -> float | None:
    try:
        return ssim(reference[np.newaxis], output[np.newaxis], span, ImageLayout.NHWC)
    except NotAnImage:
        return None


def _encoded(pixels: Array) -> bytes:
    """Return an image file, lossless, of values 0 to 1 (height, width, channels)."""
    levels = np.rint(np.clip(pixels[..., :3], 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    return file.getvalue()
