"""Image files as model inputs: decoded as RGB, resized, scaled, normalized, channel first."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mopt_api.plan import Credentials, PlannedData
from mopt_api.spec import DimensionRange, ImageTransform, InputSpec

from ._errors import DataError, DimensionError, SpecError
from .store import Store, open_store

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_FORMATS = ("PNG", "JPEG", "WEBP")
# 64 megapixels, 192 MiB decoded: above any camera in use, far below what fills memory.
MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 64 * 1024 * 1024
# Small objects wait on round trips, not on bandwidth.
_PARALLEL_FETCHES = 8
_CHANNELS = 3

Inputs = dict[str, NDArray[np.float32]]


class DecodedImages(Sequence[Inputs]):
    """Inputs made from local image files at each access: one at a time is in memory."""

    def __init__(
        self, input_name: str, names: Sequence[str], files: Sequence[Path], image: ImageTransform
    ) -> None:
        self._input_name = input_name
        self._names = names
        self._files = files
        self._transform = image

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

    def __iter__(self) -> Iterator[Inputs]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Samples:
    """Real inputs, in the order of their keys.

    Attributes:
        names: Keys relative to the folder.
        digest: sha256:HEX over names, objects' digests and the transform.
        inputs: One dict per sample: input name to an array of shape (1, 3, H, W).
        files: The image files on the local disk.
    """

    names: list[str]
    digest: str
    inputs: Sequence[Inputs]
    files: list[Path]


def load_samples(
    data: PlannedData,
    credentials: Credentials,
    inputs: list[InputSpec],
    dimensions: dict[str, DimensionRange],
    workdir: Path,
    environ: Mapping[str, str],
) -> Samples:
    """Fetch a folder's images and check that each can be an input of the model.

    Files without an image's suffix are passed over. Every image is decoded once here, so that a
    damaged one is found before anything is built.

    Raises:
        SpecError: The model has several inputs.
        DataError: No image, or one that cannot be used; the message names the object.
        DimensionError: An image's size is outside what the spec declares.
        StoreError, DiskError.
    """
    if len(inputs) != 1:
        raise SpecError(
            f"images can feed one input, the model has {len(inputs)}: "
            + ", ".join(i.name for i in inputs)
        )
    store, key = open_store(data.uri, credentials, environ)
    prefix = f"{key.rstrip('/')}/" if key.rstrip("/") else ""
    keys = _image_keys(store, prefix)[: data.samples]
    folder = workdir / f"images-{credentials.value.lower()}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}" for number in range(len(keys))]
    with ThreadPoolExecutor(_PARALLEL_FETCHES) as pool:
        digests = list(pool.map(lambda pair: _fetch(store, *pair), zip(keys, files, strict=True)))
    names = [k.removeprefix(prefix) for k in keys]
    decoded = DecodedImages(inputs[0].name, names, files, data.images)
    for name, arrays in zip(names, decoded, strict=True):
        check_fit(name, arrays[inputs[0].name].shape, inputs[0], dimensions)
    identity = {
        "objects": sorted(zip(names, digests, strict=True)),
        "transform": data.images.to_api(),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return Samples(names=names, digest=digest, inputs=decoded, files=files)


def _image_keys(store: Store, prefix: str) -> list[str]:
    keys = [k for k in store.list(prefix) if not k.endswith("/")]
    images = [k for k in keys if PurePosixPath(k).suffix.lower() in SUFFIXES]
    if not images:
        raise DataError(
            f"no images under {store.uri(prefix)}: {len(keys)} objects, "
            f"none of them {', '.join(SUFFIXES)}"
        )
    return images


def _fetch(store: Store, key: str, path: Path) -> str:
    size = store.size(key)
    if size is not None and size > MAX_FILE_BYTES:
        raise DataError(f"{store.uri(key)} has {size} bytes, more than the {MAX_FILE_BYTES} taken")
    return store.fetch(key, path)


def decode(name: str, path: Path, transform: ImageTransform) -> NDArray[np.float32]:
    """Return an image as a model input, shape (1, 3, H, W).

    Grayscale and palette images become RGB. An alpha channel is dropped where it is opaque
    throughout and refused elsewhere, because the color behind it is not known. The orientation
    tag of a camera is not applied. Resizing is Lanczos, only where asked for.

    Args:
        name: What errors call the image.

    Raises:
        DataError: Not an image, truncated, too large, more than 8 bits, animated or transparent.
    """
    pixels = np.asarray(_rgb(name, path, transform.resize), np.float32)
    values = pixels * np.float32(transform.scale)
    if transform.mean:
        values -= np.asarray(transform.mean, np.float32)
    if transform.std:
        values /= np.asarray(transform.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])


def _rgb(name: str, path: Path, resize: list[int] | None) -> Image.Image:
    try:
        # Our own bound follows; Pillow's is a warning first.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=_FORMATS)
        with opened as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{name}: {width}x{height} pixels, more than the {MAX_PIXELS} taken"
                )
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{name}: an animation, not one image")
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{name}: more than 8 bits per channel ({image.mode})")
            image.load()
            if image.has_transparency_data:
                alpha = image.convert("RGBA").getchannel("A").getextrema()
                if alpha != (255, 255):
                    raise DataError(f"{name}: transparent pixels; save it without alpha")
            rgb = image.convert("RGB")
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not a PNG, JPEG or WebP image") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: more than the {MAX_PIXELS} pixels taken") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{name}: truncated or damaged image: {error}") from error
    if resize is None:
        return rgb
    height, width = resize
    return rgb.resize((width, height), Image.Resampling.LANCZOS)


def check_fit(
    name: str, shape: Sequence[int], spec: InputSpec, dimensions: Mapping[str, DimensionRange]
) -> None:
    """Check a sample's shape against the declared input.

    Raises:
        DataError: The input is not one of RGB images.
        DimensionError: A size that the spec does not declare.
    """
    if len(spec.shape) != len(shape):
        raise DataError(
            f"input {spec.name} has {len(spec.shape)} dimensions; images need 4: "
            "batch, channels, height, width"
        )
    if isinstance(spec.shape[1], int) and spec.shape[1] != _CHANNELS:
        raise DataError(
            f"input {spec.name} takes {spec.shape[1]} channels; images have {_CHANNELS}"
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
                "set data.*.images.resize or widen the dimension"
            )
        if allowed.multiple_of and size % allowed.multiple_of:
            raise DimensionError(
                f"{where} is not a multiple of {allowed.multiple_of}, as {declared} must be; "
                "set data.*.images.resize"
            )
        if seen.setdefault(declared, size) != size:
            raise DimensionError(f"{where}, but {declared} is {seen[declared]} at another axis")
