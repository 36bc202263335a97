"""What is done to an image on its way to an input: colour, resize, crop, scale, normalize, layout.

In that order. Pure: from a decoded RGB picture to an array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mopt_api.enums import ImageColor, ImageLayout
from mopt_api.inputs import ImageTransform
from mopt_optimizer.errors import DataError, SpecError

_LARGEST_SIDE = 65536


@dataclass(frozen=True)
class Preprocessing:
    """A declared transform of images; a superset of the resource's ImageTransform.

    Attributes:
        resize: (height, width) in pixels, whatever the picture's proportions; or one number, the
            length of the shorter side, proportions kept. None keeps the size. Lanczos.
        crop: (height, width) in pixels, cut from the centre after resizing. A picture that is
            smaller is refused, not padded.
        scale: Factor on the pixel values 0 to 255; above 0.
        mean: Subtracted after scaling; empty, or one value per channel in the order of `color`.
        std: Divided by after that; as mean, above 0.
        color: Channels of the input. Gray is ITU-R 601 luma.
        layout: NCHW or NHWC.

    Raises:
        SpecError: A value that cannot be carried out; names the field.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    color: ImageColor = ImageColor.RGB
    layout: ImageLayout = ImageLayout.NCHW

    def __post_init__(self) -> None:
        # Plain strings and lists are taken too: object.__setattr__ because of frozen.
        for name, kind in (("color", ImageColor), ("layout", ImageLayout)):
            object.__setattr__(self, name, _member(name, kind, getattr(self, name)))
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.resize is not None:
            sides = (self.resize,) if isinstance(self.resize, int) else tuple(self.resize)
            _check_sides("resize", sides, (1, 2))
            if not isinstance(self.resize, int):
                object.__setattr__(self, "resize", sides)
        if self.crop is not None:
            _check_sides("crop", tuple(self.crop), (2,))
            object.__setattr__(self, "crop", tuple(self.crop))
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise SpecError(f"scale {self.scale}: give a factor above 0, such as 1/255")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, self.color.channels):
                raise SpecError(
                    f"{name} has {len(values)} values; {self.color} needs none or "
                    f"{self.color.channels}, one per channel"
                )
            if not all(map(math.isfinite, values)):
                raise SpecError(f"{name} {list(values)}: give finite numbers")
        if not all(value > 0 for value in self.std):
            raise SpecError(f"std {list(self.std)}: give numbers above 0, it is divided by")

    @classmethod
    def of(cls, transform: ImageTransform | Preprocessing) -> Preprocessing:
        """Return a resource's transform as a Preprocessing, another one as it is."""
        if isinstance(transform, Preprocessing):
            return transform
        return cls(
            resize=None if transform.resize is None else (transform.resize[0], transform.resize[1]),
            scale=transform.scale,
            crop=None if transform.crop is None else (transform.crop[0], transform.crop[1]),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            color=transform.color,
            layout=transform.layout,
        )

    @classmethod
    def imagenet(cls, size: int = 224, shorter_side: int = 256) -> Self:
        """Return what torchvision's ImageNet classifiers were trained with."""
        return cls(
            resize=shorter_side,
            crop=(size, size),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in the array."""
        return 1 if self.layout is ImageLayout.NCHW else 3

    def shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the shape of what apply makes of a picture of that size, in pixels."""
        if self.crop is not None:
            height, width = self.crop
        elif self.resize is not None:
            height, width = self._resized_to(width, height)
        channels = self.color.channels
        if self.layout is ImageLayout.NCHW:
            return 1, channels, height, width
        return 1, height, width, channels

    def apply(self, name: str, picture: Image.Image) -> NDArray[np.float32]:
        """Return a picture as an input, shape (1, C, H, W) or (1, H, W, C).

        Args:
            name: What errors call the picture.
            picture: Mode RGB.

        Raises:
            DataError: It is smaller than the crop.
        """
        if self.color is ImageColor.GRAY:
            picture = picture.convert("L")
        pixels = np.array(self._cropped(name, self._resized(picture)), np.float32)
        pixels = pixels.reshape(*pixels.shape[:2], self.color.channels)
        if self.color is ImageColor.BGR:
            pixels = pixels[..., ::-1]
        values = pixels
        values *= np.float32(self.scale)
        if self.mean:
            values -= np.asarray(self.mean, np.float32)
        if self.std:
            values /= np.asarray(self.std, np.float32)
        if self.layout is ImageLayout.NCHW:
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[np.newaxis])

    def _resized(self, picture: Image.Image) -> Image.Image:
        if self.resize is None:
            return picture
        height, width = self._resized_to(*picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    def _resized_to(self, width: int, height: int) -> tuple[int, int]:
        """Return the height and width after resizing."""
        if not isinstance(self.resize, int):
            return self.resize or (height, width)
        factor = self.resize / min(width, height)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _cropped(self, name: str, picture: Image.Image) -> Image.Image:
        if self.crop is None:
            return picture
        height, width = self.crop
        if picture.height < height or picture.width < width:
            raise DataError(
                f"{name}: {picture.height}x{picture.width} pixels (height x width), smaller than "
                f"the crop {height}x{width}; resize first or crop less"
            )
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        return picture.crop((left, top, left + width, top + height))


def _member(name: str, kind: type[StrEnum], value: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError as error:
        raise SpecError(f"{name} {value!r} is none of {', '.join(kind)}") from error


def _check_sides(name: str, sides: Sequence[int], counts: Sequence[int]) -> None:
    whole = all(isinstance(s, int) and 1 <= s <= _LARGEST_SIDE for s in sides)
    if len(sides) not in counts or not whole:
        raise SpecError(f"{name} {list(sides)}: give whole pixels, 1 to {_LARGEST_SIDE}")
