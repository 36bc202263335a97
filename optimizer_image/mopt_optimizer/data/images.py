"""Image files as model inputs: decoded as RGB, then as their Preprocessing says."""

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

from mopt_api.enums import DType
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.errors import DataError, DimensionError, SpecError
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.registry import open_store

from .preprocessing import Preprocessing
from .samples import Inputs, Samples

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_FORMATS = ("PNG", "JPEG", "WEBP")
# 64 megapixels, 192 MiB decoded: above any camera in use, far below what fills memory.
MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 64 * 1024 * 1024
# Small objects wait on round trips, not on bandwidth.
_PARALLEL_FETCHES = 8


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

    def __iter__(self) -> Iterator[Inputs]:
        return (self[index] for index in range(len(self)))


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
        SpecError: The model has several inputs, or one of another type than float32.
        DataError: No image, or one that cannot be used; the message names the object.
        DimensionError: An image's size is outside what the spec declares.
        StoreError, DiskError.
    """
    if len(inputs) != 1:
        raise SpecError(
            f"images can feed one input, the model has {len(inputs)}: "
            + ", ".join(i.name for i in inputs)
            + "; give .npz files, one array per input"
        )
    if inputs[0].dtype is not DType.FLOAT32:
        raise SpecError(
            f"images become float32; input {inputs[0].name} takes {inputs[0].dtype}: "
            "give .npy files"
        )
    fetched = fetch_folder(data.uri, credentials, environ, SUFFIXES, data.samples, workdir)
    names, files = fetched.names, fetched.files
    decoded = DecodedImages(inputs[0].name, names, files, data.images)
    transform = Preprocessing.of(data.images)
    for name, arrays in zip(names, decoded, strict=True):
        check_fit(name, arrays[inputs[0].name].shape, inputs[0], dimensions, transform)
    digest = fetched.digest(data.images.to_api())
    return Samples(names=names, digest=digest, inputs=decoded, files=files)


@dataclass(frozen=True)
class FetchedFolder:
    """Objects of a folder on the local disk, in the order of their keys.

    Attributes:
        names: Keys relative to the folder.
        digests: SHA-256 of each, hex.
    """

    names: list[str]
    files: list[Path]
    digests: list[str]

    def digest(self, transform: object) -> str:
        """Return sha256:HEX over names, contents and what is done to them (JSON values)."""
        identity = {
            "objects": sorted(zip(self.names, self.digests, strict=True)),
            "transform": transform,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def fetch_folder(
    uri: str,
    credentials: Credentials,
    environ: Mapping[str, str],
    suffixes: Sequence[str],
    limit: int,
    workdir: Path,
) -> FetchedFolder:
    """Fetch the first `limit` objects of a folder that have one of the suffixes.

    Raises:
        DataError: There is none, or one above MAX_FILE_BYTES.
        StoreError, DiskError.
    """
    store, prefix, keys = list_folder(uri, credentials, environ)
    chosen = [k for k in keys if PurePosixPath(k).suffix.lower() in suffixes]
    if not chosen:
        raise DataError(no_files(store.uri(prefix), len(keys), suffixes))
    folder = workdir / f"files-{credentials.value.lower()}"
    return fetch_objects(store, prefix, chosen[:limit], folder)


def list_folder(
    uri: str, credentials: Credentials, environ: Mapping[str, str]
) -> tuple[Store, str, list[str]]:
    """Return a folder's store, its prefix there, and the keys of all objects under it, sorted.

    Raises:
        StoreError
    """
    store, key = open_store(uri, credentials, environ)
    prefix = f"{key.rstrip('/')}/" if key.rstrip("/") else ""
    return store, prefix, [k for k in store.list(prefix) if not k.endswith("/")]


def fetch_objects(store: Store, prefix: str, keys: Sequence[str], folder: Path) -> FetchedFolder:
    """Fetch objects under a prefix into a local folder.

    Raises:
        DataError: One above MAX_FILE_BYTES.
        StoreError, DiskError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}" for number in range(len(keys))]
    with ThreadPoolExecutor(_PARALLEL_FETCHES) as pool:
        digests = list(pool.map(lambda pair: _fetch(store, *pair), zip(keys, files, strict=True)))
    return FetchedFolder([k.removeprefix(prefix) for k in keys], files, digests)


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
    names, files = local_files(folder, SUFFIXES, limit)
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


def no_files(where: str, count: int, suffixes: Sequence[str]) -> str:
    kind = "images" if tuple(suffixes) == SUFFIXES else "samples"
    return f"no {kind} under {where}: {count} objects, none of them {', '.join(suffixes)}"


def _fetch(store: Store, key: str, path: Path) -> str:
    size = store.size(key)
    if size is not None and size > MAX_FILE_BYTES:
        raise DataError(f"{store.uri(key)} has {size} bytes, more than the {MAX_FILE_BYTES} taken")
    return store.fetch(key, path)


def decode(name: str, path: Path, transform: ImageTransform | Preprocessing) -> NDArray[np.float32]:
    """Return an image as a model input, shape (1, 3, H, W) unless the transform says else.

    Grayscale and palette images become RGB first. An alpha channel is dropped where it is opaque
    throughout and refused elsewhere, because the color behind it is not known. The orientation
    tag of a camera is not applied.

    Args:
        name: What errors call the image.

    Raises:
        DataError: Not an image, truncated, too large, more than 8 bits, animated, transparent, or
            smaller than the crop.
    """
    return Preprocessing.of(transform).apply(name, _rgb(name, path))


def _rgb(name: str, path: Path) -> Image.Image:
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
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not a PNG, JPEG or WebP image") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: more than the {MAX_PIXELS} pixels taken") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{name}: truncated or damaged image: {error}") from error


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
