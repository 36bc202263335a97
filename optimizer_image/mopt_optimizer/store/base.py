"""Where models, data and results live: any S3, or a folder for local runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

MAX_READ_BYTES = 64 * 1024 * 1024
"""Largest object that read() takes into memory: manifests and images are far smaller."""

MAX_KEYS = 100_000
"""Most objects that are listed: no folder of samples comes near it."""


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
