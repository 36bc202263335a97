"""Archives of data: what is in them, and their files, under names of our own.

No name in an archive is ever a path here, so none leads out of a folder. What is data by its name
and no plain file, such as a link, is refused. Read where data is decoded, never by who holds keys.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from mopt_api.text import one_line
from mopt_optimizer.errors import DataError
from mopt_optimizer.store.base import MAX_KEYS
from mopt_optimizer.store.writing import CHUNK_BYTES, disk_errors

from .fetching import check_size, is_data
from .messages import Members

MOST_BYTES = 64 * 1024**3
"""Unpacked, all members of an archive: every one is passed on the way to the next."""
_ZIP = ".zip"
_ENCRYPTED = 0x1
# Of the systems that packed it: names beside the files that they are about.
_BESIDE = "__MACOSX"

Entry = TypeVar("Entry", zipfile.ZipInfo, tarfile.TarInfo)

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    RuntimeError,
    MemoryError,
)


@dataclass(frozen=True)
class _Member:
    """One entry of an archive, no folder.

    Attributes:
        size: Bytes unpacked, and no more are read.
        plain: Whether it is a file, and can be read.
    """

    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


def members(path: Path) -> Members:
    """Return what an archive holds. Hidden files are passed over.

    Args:
        path: With the suffix .zip; else it is a tar.

    Raises:
        DataError: Damaged, more than MAX_KEYS entries or MOST_BYTES bytes, two files of one name,
            or an image or array file that is no plain file, or whose name is no path.
    """
    found: dict[str, int] = {}
    total = others = 0
    with _opened(path) as entries:
        for member in entries:
            total += member.size
            if total > MOST_BYTES:
                raise DataError(f"an archive of more than {MOST_BYTES} bytes unpacked")
            name = _name(member)
            if name is None:
                others += 1
            elif name in found:
                raise DataError(f"an archive with two files {_shown(name)}")
            else:
                found[name] = member.size
    return Members(files=found, others=others)


def unpack(path: Path, names: Sequence[str], folder: Path) -> list[Path]:
    """Write members of an archive to a folder; return the files, in the order of names.

    Raises:
        DataError: Damaged, or a member that is missing or larger than any sample.
        DiskError: No space left.
    """
    wanted = {name: folder / str(index) for index, name in enumerate(names)}
    files = [*wanted.values()]
    with _opened(path) as entries:
        for member in entries:
            if not wanted:
                break
            if (target := wanted.pop(_name(member) or "", None)) is not None:
                check_size(_shown(member.name), member.size)
                with (
                    member.open() as source,
                    disk_errors(str(target)),
                    target.open("xb") as file,
                ):
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
    if wanted:
        raise DataError(f"an archive without {_shown(next(iter(wanted)))}")
    return files


def _name(member: _Member) -> str | None:
    """Return the path of an image or array file; None for what is passed over.

    Raises:
        DataError: It is no plain file, or has a name that is no path in a folder.
    """
    path = PurePosixPath(member.name)
    if not is_data(path.name) or _BESIDE in path.parts or path.name.startswith("."):
        return None
    if path.is_absolute() or ".." in path.parts or not str(path).isprintable():
        raise DataError(f"an archive with {_shown(member.name)}, which is no place in a folder")
    if not member.plain:
        raise DataError(f"an archive with {_shown(member.name)}, which is no plain file")
    return str(path)


def _shown(name: str) -> str:
    return repr(one_line(name, 200))


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[_Member]]:
    """Give the members of an archive, in its order.

    Raises:
        DataError: It is none, or is damaged; also for what the block raises of damage.
    """
    kind = "zip" if path.suffix == _ZIP else "tar"
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                yield _zipped(archive)
        else:
            with tarfile.open(path, "r:*") as archive:
                yield _tarred(archive)
    except _DAMAGE as error:
        raise DataError(f"damaged {kind}: {one_line(str(error), 200)}") from error


def _bounded(entries: Iterable[Entry]) -> Iterator[Entry]:
    for count, entry in enumerate(entries):
        if count == MAX_KEYS:
            raise DataError(f"an archive of more than {MAX_KEYS} files and folders")
        yield entry


def _zipped(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in _bounded(archive.infolist()):
        if entry.is_dir():
            continue
        mode = entry.external_attr >> 16
        # Whoever packs elsewhere than on Unix writes no mode.
        plain = stat.S_IFMT(mode) in (0, stat.S_IFREG) and not entry.flag_bits & _ENCRYPTED
        yield _Member(entry.filename, entry.file_size, plain, partial(archive.open, entry))


def _tarred(archive: tarfile.TarFile) -> Iterator[_Member]:
    for entry in _bounded(archive):
        if entry.isdir():
            continue
        if entry.size < 0:
            raise DataError(f"an archive with a file of {entry.size} bytes")
        plain = entry.isreg() and not entry.issparse()
        yield _Member(entry.name, entry.size, plain, partial(_content, archive, entry))


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(entry)
    assert found is not None  # noqa: S101 - it is a plain file
    return found
