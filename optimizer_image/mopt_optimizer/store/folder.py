"""A folder as a store, for local runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import DataError, ObjectNotFound, StoreAccessDenied, StoreUnreachable

from .base import MAX_READ_BYTES, Store
from .writing import CHUNK_BYTES, disk_errors, hashed, replacing, write_chunks

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


def open_uri(
    uri: SplitResult,
    credentials: Credentials,  # noqa: ARG001 - of stores that have any
    environ: Mapping[str, str],  # noqa: ARG001 - likewise
) -> tuple[Store, str] | None:
    """See registry.OpenUri. A file's root is its folder; else the uri names a folder, there or
    still to be made."""
    if uri.netloc not in ("", "localhost") or not uri.path:
        return None
    path = Path(unquote(uri.path))
    if path.is_file():
        return FileStore(path.parent), path.name
    return FileStore(path), ""


def open_beneath(root: Path, path: Path) -> BinaryIO:
    """Open a file under a folder by its name, which has no symlink in it.

    Whoever may write there and puts one in the way meanwhile leads nowhere.

    Raises:
        OSError: So it is, or it is no regular file.
    """
    with _folder_beneath(root, path.parent) as folder:
        opened = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise FileNotFoundError(f"{path} is no file")
    return os.fdopen(opened, "rb")


def remove_beneath(root: Path, path: Path) -> None:
    """Remove a file under a folder, as open_beneath opens one.

    Raises:
        OSError: It is no file, is not there, or may not be removed.
    """
    with _folder_beneath(root, path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


@contextmanager
def _folder_beneath(root: Path, path: Path) -> Iterator[int]:
    """Give the descriptor of a folder under another."""
    folder = os.open(root, _FOLDER)
    try:
        for each in path.relative_to(root).parts:
            inner = os.open(each, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


class FileStore:
    """Implements Store under a root folder that no key, and no symlink, leads out of."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def _path(self, key: str) -> Path:
        try:
            path = (self._root / key).resolve()
        except RuntimeError as error:
            raise StoreAccessDenied(f"{self.uri(key)} is a symlink to itself") from error
        if not path.is_relative_to(self._root):
            raise StoreAccessDenied(f"{self.uri(key)} leads out of {self._root}")
        return path

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Turn what a file system says into what is wrong with an object."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFound(f"{self.uri(key)} does not exist") from error
        except PermissionError as error:
            whom = f"user {os.getuid()} with group {os.getgid()}"
            raise StoreAccessDenied(f"{self.uri(key)} may not be read by {whom}") from error
        except OSError as error:
            raise StoreUnreachable(f"{self.uri(key)} cannot be read: {error.strerror}") from error

    def _file(self, key: str) -> Path | None:
        """Return where an object's file is; None where there is none."""
        path = self._path(key)
        with self._reading(key):
            return path if path.is_file() else None

    def fetch(self, key: str, path: Path) -> str:
        source = self._existing(key)
        digest = hashlib.sha256()
        with disk_errors(str(path)), replacing(path) as temporary:
            write_chunks(temporary, hashed(self._chunks(key, source), digest))
        return digest.hexdigest()

    def _chunks(self, key: str, source: Path) -> Iterator[bytes]:
        with self._reading(key), open_beneath(self._root, source) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def digest(self, key: str) -> str | None:
        path = self._file(key)
        if path is None:
            return None
        digest = hashlib.sha256()
        try:
            for _ in hashed(self._chunks(key, path), digest):
                pass
        except ObjectNotFound:  # Removed since.
            return None
        return digest.hexdigest()

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        source = self._existing(key)
        if (size := self.size(key) or 0) > max_bytes:
            raise DataError(f"{self.uri(key)} has {size} bytes, more than the {max_bytes} taken")
        data = bytearray()
        for chunk in self._chunks(key, source):
            data += chunk
            if len(data) > max_bytes:  # It grows, or is a file that is made when it is read.
                raise DataError(f"{self.uri(key)} has more than the {max_bytes} bytes taken")
        return bytes(data)

    def _existing(self, key: str) -> Path:
        path = self._file(key)
        if path is None:
            raise ObjectNotFound(f"{self.uri(key)} does not exist")
        return path

    def put_file(self, key: str, path: Path) -> None:
        with self._writing(key) as temporary:
            shutil.copyfile(path, temporary)

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._writing(key) as temporary:
            temporary.write_bytes(data)

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        target = self._path(key)
        try:
            with disk_errors(self.uri(key)), replacing(target) as temporary:
                yield temporary
        except PermissionError as error:
            raise StoreAccessDenied(f"{self.uri(key)} may not be written") from error
        except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
            raise StoreUnreachable(f"{self.uri(key)} cannot be written: {error}") from error

    def size(self, key: str) -> int | None:
        path = self._file(key)
        if path is None:
            return None
        with self._reading(key):
            return path.stat().st_size

    def list(self, prefix: str) -> list[str]:
        folder = self._path(prefix.rpartition("/")[0])
        if not folder.is_dir():
            return []
        found = (path for path in folder.rglob("*") if path.is_file())
        keys = (path.relative_to(self._root).as_posix() for path in found)
        # Symlinks that lead out are refused when they are read, with a message; not hidden here.
        return sorted(key for key in keys if key.startswith(prefix))

    def uri(self, key: str) -> str:
        return f"file://{(self._root / key).as_posix()}" if key else f"file://{self._root}"
