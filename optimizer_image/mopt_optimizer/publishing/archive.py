"""Layers: files as a tar that is the same, byte for byte, for the same files.

Names are sorted, times and owners are zero, modes are fixed. It is written as a stream: its size is
known without reading a file, and no file is ever whole in memory. It is not compressed: weights
hardly shrink, and what a compressor writes depends on its version.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from mopt_optimizer.store.writing import CHUNK_BYTES

FILE_MODE, FOLDER_MODE = 0o644, 0o755
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


class Sized(Protocol):
    """Bytes that can be read as often as needed: len() of them, in chunks."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Stored:
    """A file on the local disk."""

    path: Path
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


@dataclass(frozen=True)
class Given:
    """Bytes in memory."""

    data: bytes

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[bytes]:
        if self.data:
            yield self.data


class Archive:
    """A tar of files, and of the folders that they lie in."""

    def __init__(self, files: Mapping[str, Sized], *, folder: str = "") -> None:
        """
        Args:
            files: By relative path, with slashes.
            folder: They lie in it; a relative path, or "" for the root.

        Raises:
            ValueError: A path is absolute, leaves the root, or is a folder of another one.
        """
        placed = {_placed(folder, name): file for name, file in files.items()}
        folders = {str(parent) for name in placed for parent in PurePosixPath(name).parents}
        if shared := folders & placed.keys():
            raise ValueError(f"both a file and a folder: {sorted(shared)}")
        self._members: dict[str, Sized | None] = dict.fromkeys(folders - {"."}) | placed

    def __len__(self) -> int:
        return len(_END) + sum(
            len(_header(name, file)) + _rounded(0 if file is None else len(file))
            for name, file in self._members.items()
        )

    def __iter__(self) -> Iterator[bytes]:
        for name, file in sorted(self._members.items()):
            yield _header(name, file)
            if file is not None:
                yield from _padded(name, file)
        yield _END

    @cached_property
    def digest(self) -> str:
        """sha256:HEX of it; reads all files."""
        return digest_of(self)


def digest_of(chunks: Sized) -> str:
    """Return sha256:HEX of bytes."""
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return f"sha256:{found.hexdigest()}"


def split(files: Mapping[str, Sized], is_large: Callable[[str], bool]) -> list[dict[str, Sized]]:
    """Return files by the layer that each lies in: large ones alone, the others together, last.

    So weights are one blob in the registry however often the small files beside them change. Pure.
    """
    alone: list[dict[str, Sized]] = [
        {name: files[name]} for name in sorted(files) if is_large(name)
    ]
    together = {name: file for name, file in files.items() if not is_large(name)}
    return [*alone, *([together] if together else [])]


def _placed(folder: str, name: str) -> str:
    path = PurePosixPath(folder, name)
    if PurePosixPath(name).is_absolute() or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"not a path below the root: {name!r}")
    if not PurePosixPath(name).parts:
        raise ValueError("a file without a name")
    return str(path)


def _header(name: str, file: Sized | None) -> bytes:
    info = tarfile.TarInfo(name)
    if file is None:
        info.type, info.mode = tarfile.DIRTYPE, FOLDER_MODE
    else:
        info.size, info.mode = len(file), FILE_MODE
    # PAX: what does not fit into the fields, sizes from 8 GiB too, is in a header of its own.
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(name: str, file: Sized) -> Iterator[bytes]:
    written = 0
    for chunk in file:
        written += len(chunk)
        yield chunk
    if written != len(file):
        raise ValueError(f"{name} has {written} bytes instead of {len(file)}")
    yield bytes(_rounded(written) - written)


def _rounded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
