"""A folder as a store, for local runs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, unquote

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import DataError, ObjectNotFound, StoreAccessDenied, StoreUnreachable

from .base import MAX_READ_BYTES, Store
from .writing import CHUNK_BYTES, disk_errors, hashed, replacing, write_chunks


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


class FileStore:
    """Implements Store under a root folder that no key, and no symlink, leads out of."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root):
            raise StoreAccessDenied(f"{self.uri(key)} leads out of {self._root}")
        return path

    def fetch(self, key: str, path: Path) -> str:
        source = self._existing(key)
        digest = hashlib.sha256()
        with disk_errors(str(path)), replacing(path) as temporary:
            write_chunks(temporary, hashed(self._chunks(key, source), digest))
        return digest.hexdigest()

    def _chunks(self, key: str, source: Path) -> Iterator[bytes]:
        try:
            with source.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except PermissionError as error:
            raise StoreAccessDenied(f"{self.uri(key)} may not be read") from error

    def digest(self, key: str) -> str | None:
        path = self._path(key)
        if not path.is_file():
            return None
        digest = hashlib.sha256()
        try:
            for _ in hashed(self._chunks(key, path), digest):
                pass
        except FileNotFoundError:  # Removed since.
            return None
        return digest.hexdigest()

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        source = self._existing(key)
        if (size := source.stat().st_size) > max_bytes:
            raise DataError(f"{self.uri(key)} has {size} bytes, more than the {max_bytes} taken")
        data = bytearray()
        for chunk in self._chunks(key, source):
            data += chunk
            if len(data) > max_bytes:  # It grows, or is a file that is made when it is read.
                raise DataError(f"{self.uri(key)} has more than the {max_bytes} bytes taken")
        return bytes(data)

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
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
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

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
