"""A file in an image's folder /models, as KServe's modelcars have it: read from the tars that are
its layers, as a stream.

As in a container the topmost layer that has the file counts, and one above that hides it (a
whiteout of the OCI image specification, or a file in a folder's place) takes it away. Neither the
headers nor what is passed on the way may be without end.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, Protocol, cast

import zstandard

from mopt_api.text import one_line
from mopt_optimizer.errors import ObjectNotFound, SpecError, StoreUnreachable
from mopt_optimizer.store.writing import CHUNK_BYTES

MODELS = "models"
MOST_BYTES = 256 * 1024**3
"""Of a layer, unpacked, up to the end of the file that is wanted."""
MOST_ENTRIES = 1_000_000
"""Of a layer: those of a whole distribution are some 100,000."""
_HEADERS = 1024 * 1024
"""Most bytes between an entry's content and the next: names and attributes are some thousand."""

_TARS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
)
_PLAIN, _GZIP, _ZSTD = ("",), ("+gzip", ".gzip"), ("+zstd", ".zstd")
_WINDOW_BYTES = 128 * 1024**2
"""Most of what was unpacked that a zstd frame may look back at: it is held in memory. What the
zstd program takes without being told more; builders stay at 8 MiB."""
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_DAMAGE = (
    tarfile.TarError,
    zlib.error,
    zstandard.ZstdError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


class Layer(Protocol):
    """A layer of a manifest."""

    media_type: str
    digest: str


def is_tar(media_type: str) -> bool:
    """Tell whether a layer is a file system's, whatever it is compressed by."""
    return media_type.startswith(_TARS)


@contextmanager
def opened_file(
    named: str, layers: Sequence[Layer], file: str, chunks: Callable[[Layer], Iterable[bytes]]
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Yield the size of a file, and its bytes, which are as many.

    Args:
        named: The image, as messages have it.
        layers: From the lowest on.
        file: Its path below /models.
        chunks: Gives the bytes of a layer.

    Raises:
        ObjectNotFound: There is none.
        SpecError: It is no plain file, or a layer is compressed by what is not read here.
        StoreUnreachable: A layer is damaged.
    """
    path = PurePosixPath(MODELS, file)
    for layer in reversed(layers):
        search = _Search(named, layer, path, chunks)
        if (size := search.size()) is not None:
            yield size, search.content(size)
            return
        if search.hidden:
            break
    raise ObjectNotFound(f"{named}: the image has no file {one_line(f'/{path}', 300)}")


class _Search:
    """A file in one layer.

    Attributes:
        hidden: Whether lower layers' file of that path is not there, once size() said that there
            is none.
    """

    def __init__(
        self,
        named: str,
        layer: Layer,
        path: PurePosixPath,
        chunks: Callable[[Layer], Iterable[bytes]],
    ) -> None:
        self._named, self._path = named, path
        self._damaged = f"{named}: damaged layer {layer.digest}"
        media = layer.media_type
        kind = next(media.removeprefix(tar) for tar in _TARS if media.startswith(tar))
        if kind not in (*_PLAIN, *_GZIP, *_ZSTD):
            raise SpecError(
                f"{named} has a layer {one_line(media, 100)}: push it uncompressed, with gzip or "
                "with zstd"
            )
        self._bounded = _Bounded(_unpacked(kind, _Stream(chunks(layer))))
        self._archive: tarfile.TarFile | None = None
        self._found: tarfile.TarInfo | None = None
        self.hidden = False

    def size(self) -> int | None:
        """Return the file's size; None where this layer has none."""
        try:
            for entry in self._entries():
                path = PurePosixPath("/", entry.name).relative_to("/")
                if path == self._path:
                    self._check(entry, entry.isreg() and not entry.issparse())
                    self._found = entry
                    return entry.size
                if path in self._path.parents:
                    # A folder of the way: what stands in its place hides it.
                    self._check(entry, not (entry.issym() or entry.islnk()))
                    self.hidden |= not entry.isdir()
                elif path.name.startswith(_WHITEOUT):
                    self.hidden |= self._hides(path)
        except _DAMAGE as error:
            raise StoreUnreachable(f"{self._damaged}: {one_line(str(error), 200)}") from error
        return None

    def content(self, size: int) -> Iterator[bytes]:
        """Yield the file's bytes."""
        try:
            assert self._archive is not None and self._found is not None  # noqa: S101, PT018
            self._bounded.allow(size + _HEADERS)
            source = self._archive.extractfile(self._found)
            assert source is not None  # noqa: S101 - it is a plain file
            while chunk := source.read(CHUNK_BYTES):
                yield chunk
        except _DAMAGE as error:
            raise StoreUnreachable(f"{self._damaged}: {one_line(str(error), 200)}") from error

    def _entries(self) -> Iterator[tarfile.TarInfo]:
        self._bounded.allow(_HEADERS)
        file = cast(IO[bytes], self._bounded)
        self._archive = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115 - a stream
        for _ in range(MOST_ENTRIES):
            entry = self._archive.next()
            if entry is None:
                return
            self._archive.members = []  # type: ignore[attr-defined] # else all stay
            yield entry
            if entry.size < 0:
                break
            self._bounded.allow(entry.size + _HEADERS)
        raise tarfile.ReadError(f"more than {MOST_ENTRIES} entries, or one of no size")

    def _check(self, entry: tarfile.TarInfo, usable: bool) -> None:
        if not usable:
            where = one_line(f"/{entry.name}", 300)
            raise SpecError(f"{self._named}: {where} is no plain file: name the file itself")

    def _hides(self, whiteout: PurePosixPath) -> bool:
        if whiteout.name == _OPAQUE:
            return whiteout.parent in self._path.parents
        gone = whiteout.with_name(whiteout.name.removeprefix(_WHITEOUT) or _WHITEOUT)
        return gone == self._path or gone in self._path.parents


def _unpacked(kind: str, stream: io.RawIOBase) -> IO[bytes]:
    """Return a layer's tar; each read unpacks no more than it was asked for."""
    packed = io.BufferedReader(stream, CHUNK_BYTES)
    if kind in _GZIP:
        return cast(IO[bytes], gzip.GzipFile(fileobj=packed))
    if kind in _ZSTD:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        # Builders write layers in several frames, and their tables in frames that are skipped.
        return decompressor.stream_reader(packed, read_across_frames=True)
    return cast(IO[bytes], packed)


class _Stream(io.RawIOBase):
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


class _Bounded:
    """What tarfile reads from: no more than it was allowed to, and MOST_BYTES in all."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = 0
        self._whole = MOST_BYTES

    def allow(self, count: int) -> None:
        """Let so many bytes be read from here on."""
        self._left = count

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        self._whole -= len(data)
        if self._left < 0 or self._whole < 0:
            raise tarfile.ReadError("headers without end, or too much to unpack")
        return data
