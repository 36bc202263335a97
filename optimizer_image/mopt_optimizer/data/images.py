"""Image files as model inputs: upright, as 8-bit RGB, then as their Preprocessing says.

As a browser, OpenCV's imread and TensorFlow's decoders show them: the camera's orientation tag is
applied, 16 bits become 8 by dropping the low ones, gray and palette images become RGB, CMYK too,
without its colour profile, and an alpha channel is dropped, whatever colour lies behind it.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_optimizer.errors import DataError, DimensionError

from .fetching import IMAGES, no_files
from .preprocessing import Preprocessing
from .samples import Inputs

_FORMATS = ("PNG", "JPEG", "WEBP")
_SEVERAL_PICTURES = "MPO"
"""A JPEG of a camera that adds a preview or a second view: its first picture is the photograph."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of an orientation upright (EXIF 2.3, tag 0x0112; 1 is upright)."""
_ON_ITS_SIDE = (5, 6, 7, 8)
_BROKEN_TAGS = (SyntaxError, ValueError, TypeError, LookupError, EOFError, OSError, struct.error)
# 64 megapixels, 192 MiB decoded: above any camera in use, far below what fills memory.
MAX_PIXELS = 64_000_000


class DecodedImages(Sequence[Inputs]):
    """Inputs made from local image files at each access: one at a time is in memory."""

    def __init__(
        self,
        input_name: str,
        names: Sequence[str],
        files: Sequence[Path],
        image: ImageTransform | Preprocessing,
    ) -> None:
        self._input_name = input_name
        self._names = names
        self._files = files
        self._transform = Preprocessing.of(image)

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Inputs: ...
    @overload
    def __getitem__(self, index: slice) -> list[Inputs]: ...
    def __getitem__(self, index: int | slice) -> Inputs | list[Inputs]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        array = decode(self._names[index], self._files[index], self._transform)
        return {self._input_name: array}

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape that an image becomes an input of; nothing of it is decoded.

        Raises:
            DataError: As decode.
        """
        name, path = self._names[index], self._files[index]
        with _opened(name, path) as image:
            width, height = image.size
            turned = _orientation(image) in _ON_ITS_SIDE
            return self._transform.shape(*((height, width) if turned else (width, height)))

    def __iter__(self) -> Iterator[Inputs]:
        return (self[index] for index in range(len(self)))


def local_images(
    folder: str | Path,
    input_name: str,
    transform: Preprocessing | None = None,
    *,
    limit: int | None = None,
) -> DecodedImages:
    """Return a local folder's images as samples, decoded one at a time, in order of their paths.

    Args:
        limit: How many to use at most.

    Raises:
        DataError: No such folder, or no image in it. A damaged image is reported when it is read.
    """
    names, files = local_files(folder, IMAGES, limit)
    return DecodedImages(input_name, names, files, transform or Preprocessing())


def local_files(
    folder: str | Path, suffixes: Sequence[str], limit: int | None
) -> tuple[list[str], list[Path]]:
    """Return a folder's files with one of the suffixes: paths below it, and whole paths.

    Raises:
        DataError: No such folder, or no such file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the one that the samples lie in")
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    names = sorted(n for n in found if PurePosixPath(n).suffix.lower() in suffixes)[:limit]
    if not names:
        raise DataError(no_files(str(folder), len(found), suffixes))
    return names, [found[name] for name in names]


def decode(name: str, path: Path, transform: ImageTransform | Preprocessing) -> NDArray[np.float32]:
    """Return an image as a model input, shape (1, 3, H, W) unless the transform says else.

    The module's description says what becomes of other kinds than 8-bit RGB.

    Args:
        name: What errors call the image.

    Raises:
        DataError: Not an image, truncated, too large, animated, or smaller than the crop.
    """
    return Preprocessing.of(transform).apply(name, _rgb(name, path))


def _rgb(name: str, path: Path) -> Image.Image:
    with _opened(name, path) as image:
        turn = _UPRIGHT.get(_orientation(image))
        image.load()
        # Of RGB Pillow drops the low bits itself, of gray it would cut off what is above 255.
        wide = image.mode.startswith("I")
        eight = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if wide else image
        upright = eight if turn is None else eight.transpose(turn)
        return upright.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the camera's orientation tag, of the header alone; 1 where there is none.

    A damaged tag is passed over: the picture is there.
    """
    if not (header := image.info.get("exif")):
        return 1
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load(header)
            found = tags.get(_ORIENTATION, 1)
    except _BROKEN_TAGS:
        return 1
    return found if isinstance(found, int) else 1


@contextmanager
def _opened(name: str, path: Path) -> Iterator[Image.Image]:
    """Open an image whose header is one that is taken; its pixels are decoded by the block.

    Raises:
        DataError: As decode; also for what the block raises of damage.
    """
    try:
        # Our own bound follows; Pillow's is a warning first.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=_FORMATS)
        with opened as image:
            _check_header(name, image)
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not a PNG, JPEG or WebP image") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: more than the {MAX_PIXELS} pixels taken") from error
    except Exception as error:
        raise DataError(f"{name}: truncated or damaged image: {error}") from error


def _check_header(name: str, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {width}x{height} pixels, more than the {MAX_PIXELS} taken")
    if image.format != _SEVERAL_PICTURES and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{name}: an animation, not one image")


def check_fit(
    name: str,
    shape: Sequence[int],
    spec: InputSpec,
    dimensions: Mapping[str, DimensionRange],
    transform: Preprocessing | None = None,
) -> None:
    """Check a sample's shape against the declared input.

    Raises:
        DataError: The input is not one of images of the transform's colour and layout.
        DimensionError: A size that the spec does not declare.
    """
    if len(spec.shape) != len(shape):
        raise DataError(
            f"input {spec.name} has {len(spec.shape)} dimensions; images need 4: "
            "batch, channels, height, width"
        )
    transform = transform or Preprocessing()
    channels = spec.shape[transform.channel_axis]
    if isinstance(channels, int) and channels != transform.color.channels:
        raise DataError(
            f"input {spec.name} takes {channels} channels; images have {transform.color.channels} "
            f"({transform.color}, {transform.layout})"
        )
    seen: dict[str, int] = {}
    for axis, (declared, size) in enumerate(zip(spec.shape, shape, strict=True)):
        where = f"{name}: size {size} at axis {axis} of input {spec.name}"
        if isinstance(declared, int):
            if declared != size:
                raise DimensionError(f"{where}, which is fixed to {declared}")
            continue
        allowed = dimensions[declared]
        if not allowed.min <= size <= allowed.max:
            raise DimensionError(
                f"{where} is outside {declared} {allowed.min}..{allowed.max}; "
                "set data.*.images.resize or crop, or widen the dimension"
            )
        if allowed.multiple_of and size % allowed.multiple_of:
            raise DimensionError(
                f"{where} is not a multiple of {allowed.multiple_of}, as {declared} must be; "
                "set data.*.images.resize or crop"
            )
        if seen.setdefault(declared, size) != size:
            raise DimensionError(f"{where}, but {declared} is {seen[declared]} at another axis")
