"""Where models, data and results live: any S3, or a folder for local runs."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import DiskError, SpecError

MAX_READ_BYTES = 64 * 1024 * 1024
"""Largest object that read() takes into memory: manifests and images are far smaller."""

CHUNK_BYTES = 1024 * 1024


class Store(Protocol):
    """Objects under keys. A key is the full key in the bucket, or a path under the file root."""

    def fetch(self, key: str, path: Path) -> str:
        """Write the object to path, whole or not at all; return its SHA-256 in hex.

        Raises:
            ObjectNotFound, StoreAccessDenied, StoreUnreachable, DiskError.
        """

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Return the object's bytes.

        Raises:
            DataError: It is larger than max_bytes.
            ObjectNotFound, StoreAccessDenied, StoreUnreachable.
        """

    def digest(self, key: str) -> str | None:
        """Return the SHA-256, in hex, of the object's bytes, read anew; None where there is none.

        Raises:
            StoreAccessDenied, StoreUnreachable.
        """

    def put_file(self, key: str, path: Path) -> None:
        """Store a local file; readers see all of it or nothing."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store bytes; readers see all of them or nothing."""

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes, or None where there is none."""

    def list(self, prefix: str) -> list[str]:
        """Return the keys that start with prefix, sorted. An empty list if none do."""

    def uri(self, key: str) -> str:
        """Return the uri that names the object to people and to open_store."""


def open_store(uri: str, credentials: Credentials, environ: Mapping[str, str]) -> tuple[Store, str]:
    """Return the store that a uri names, and the uri's key or prefix in it. Opens no connection.

    Args:
        uri: s3://BUCKET/KEY, or file:///absolute/path.
        credentials: Whose MOPT_<ROLE>_* variables apply. Where none of them is set the plain
            AWS_* ones do, for local use.

    Raises:
        SpecError: Another scheme, no bucket, or a relative path.
        StoreAccessDenied: No keys in environ.
        StoreUnreachable: An endpoint or CA certificate that cannot be used.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        from .s3 import S3Store

        return S3Store.open(parts.netloc, credentials, environ), parts.path.lstrip("/")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        from .folder import FileStore

        path = Path(unquote(parts.path))
        # A file's root is its folder; else the uri names a folder, there or still to be made.
        if path.is_file():
            return FileStore(path.parent), path.name
        return FileStore(path), ""
    raise SpecError(f"uri {uri!r} is neither s3://BUCKET/KEY nor file:///absolute/path")


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk into DiskError; other errors pass.

    Raises:
        DiskError: ENOSPC or EDQUOT.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskError(f"no space left while writing {what}") from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside path that becomes path when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name[:100]}.{uuid.uuid4().hex}.part"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def hashed(chunks: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield the chunks, each taken into digest first."""
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Append chunks to a file.

    Raises:
        DiskError: The disk is full.
    """
    with disk_errors(str(path)), path.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
