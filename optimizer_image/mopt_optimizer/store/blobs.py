"""Content-addressed objects under a store's prefix: the digest is the name."""

from __future__ import annotations

import re
from pathlib import Path

from mopt_api.artifacts import blob_key, page_key
from mopt_optimizer.digests import bytes_digest, file_digest
from mopt_optimizer.errors import (
    DataError,
    DigestMismatch,
    ObjectNotFound,
    SpecError,
    StoreUnreachable,
)

from .base import Store

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
MAX_INDEX_BYTES = 4096


class Blobs:
    """Objects at blobs/sha256/HEX, pointers to them at index/NAME, and pages for people at
    reports/HEX.html, under one prefix.

    Whoever may write to the store is trusted with what it holds; damage is still found, because
    everything that is read is hashed.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def _key(self, digest: str) -> str:
        match = _DIGEST.fullmatch(digest)
        if not match:
            raise SpecError(f"{digest!r} is not sha256: and 64 hex digits")
        return self._prefix + blob_key(match[1])

    def uri(self, digest: str) -> str:
        """Return where the object of a digest lies."""
        return self._store.uri(self._key(digest))

    def put_file(self, path: Path) -> str:
        """Store a local file unless it is there already, undamaged; return its digest.

        Raises:
            StoreUnreachable: The stored object's size is not the file's.
            StoreError, DiskError.
        """
        digest = file_digest(path)
        key, size = self._key(digest), path.stat().st_size
        if not self.intact(digest, size):
            self._store.put_file(key, path)
            self._check_size(key, size)
        return digest

    def put_bytes(self, data: bytes) -> str:
        """Store bytes unless they are there already, undamaged; return their digest."""
        digest = bytes_digest(data)
        key = self._key(digest)
        if self._store.size(key) != len(data) or self._store.read(key) != data:
            self._store.put_bytes(key, data)
            self._check_size(key, len(data))
        return digest

    def _check_size(self, key: str, expected: int) -> None:
        if (size := self._store.size(key)) != expected:
            raise StoreUnreachable(
                f"{self._store.uri(key)} holds {size} bytes after {expected} were written"
            )

    def fetch(self, digest: str, path: Path) -> None:
        """Write the object of a digest to path; on error path is left as it was.

        Raises:
            DigestMismatch: The store holds other bytes under that digest.
        """
        key = self._key(digest)
        arriving = path.with_name(f".{path.name}.unverified")
        try:
            found = f"sha256:{self._store.fetch(key, arriving)}"
            self._check_digest(key, found, digest)
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)

    def read(self, digest: str) -> bytes:
        """Return the object of a digest, verified; for manifests, not for models.

        Raises:
            DigestMismatch: The store holds other bytes under that digest.
        """
        key = self._key(digest)
        data = self._store.read(key)
        self._check_digest(key, bytes_digest(data), digest)
        return data

    def _check_digest(self, key: str, found: str, expected: str) -> None:
        if found != expected:
            raise DigestMismatch(
                f"{self._store.uri(key)} has {found} instead of {expected}: it was damaged in the "
                "store; run again (a new mopt.dev/requestedAt), and it is made anew"
            )

    def intact(self, digest: str, size: int) -> bool:
        """Return whether an object of that size is stored, undamaged; reads all of it."""
        key = self._key(digest)
        if self._store.size(key) != size:
            return False
        return f"sha256:{self._store.digest(key)}" == digest

    def put_page(self, result_digest: str, page: bytes) -> str:
        """Store the page of a result that is stored already; return its uri."""
        key = f"{self._prefix}{page_key(result_digest)}"
        self._store.put_bytes(key, page)
        self._check_size(key, len(page))
        return self._store.uri(key)

    def has_page(self, result_digest: str) -> bool:
        """Return whether a result's page is stored."""
        return self._store.size(f"{self._prefix}{page_key(result_digest)}") is not None

    def read_page(self, result_digest: str) -> bytes | None:
        """Return a result's page; None where none is stored."""
        if not self.has_page(result_digest):
            return None
        return self._store.read(f"{self._prefix}{page_key(result_digest)}")

    def _index_key(self, name: str) -> str:
        if not _INDEX_NAME.fullmatch(name):
            raise SpecError(f"{name!r} cannot name an index")
        return f"{self._prefix}index/{name}"

    def index_read(self, name: str) -> tuple[str, bytes] | None:
        """Return the digest that was put under a name, and its object; None if none was put, or
        what it names is missing or damaged, so that the caller computes it again."""
        key = self._index_key(name)
        try:
            digest = self._store.read(key, max_bytes=MAX_INDEX_BYTES).decode()
            return digest, self.read(digest)
        except (ObjectNotFound, DigestMismatch, DataError, SpecError, UnicodeDecodeError):
            return None

    def index_put(self, name: str, digest: str) -> None:
        """Name a manifest. Call it after everything that the manifest names is stored."""
        self._key(digest)
        self._store.put_bytes(self._index_key(name), digest.encode())
