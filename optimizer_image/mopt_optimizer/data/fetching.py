"""A folder of data: which of its files are taken, and the files on the local disk.

Nothing here reads what is in a file: that is another process's (decoding).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mopt_api.inputs import ImageTransform
from mopt_optimizer.errors import DataError, SpecError
from mopt_optimizer.store.base import Store

IMAGES = (".png", ".jpg", ".jpeg", ".webp")
ARRAYS = (".npz", ".npy")
SUFFIXES = (*IMAGES, *ARRAYS)
MAX_FILE_BYTES = 64 * 1024 * 1024
# Small objects wait on round trips, not on bandwidth.
_PARALLEL_FETCHES = 8


def is_data(name: str) -> bool:
    """Tell whether a file is an image or array file, by its suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_array(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in ARRAYS


def hold_arrays(uri: str, keys: Sequence[str], transform: ImageTransform) -> bool:
    """Tell whether a folder's files are arrays; else they are images.

    Args:
        keys: Image and array files only, one at least.
        transform: Of the folder's images.

    Raises:
        SpecError: Both, or a transform of images for arrays.
    """
    arrays = [k for k in keys if is_array(k)]
    if not arrays:
        return False
    if len(arrays) < len(keys):
        image = next(k for k in keys if not is_array(k))
        raise SpecError(
            f"{uri} holds both arrays and images, such as {arrays[0]} and {image}; "
            "keep them under separate prefixes"
        )
    if transform != ImageTransform():
        raise SpecError(f"{uri} holds arrays, which are taken as they are; leave images out")
    return True


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


def no_files(where: str, count: int, suffixes: Sequence[str]) -> str:
    kind = "images" if tuple(suffixes) == IMAGES else "samples"
    return f"no {kind} under {where}: {count} objects, none of them {', '.join(suffixes)}"


def _fetch(store: Store, key: str, path: Path) -> str:
    size = store.size(key)
    if size is not None:
        check_size(store.uri(key), size)
    return store.fetch(key, path)


def check_size(name: str, size: int) -> None:
    """Refuse a file that is larger than any sample.

    Raises:
        DataError
    """
    if size > MAX_FILE_BYTES:
        raise DataError(f"{name} has {size} bytes, more than the {MAX_FILE_BYTES} taken")
