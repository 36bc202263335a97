"""A place that has single files alone: a key is one that is read; nothing is listed or written."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import ClassVar, NoReturn, TypeVar

from mopt_api.stores import SCHEMES
from mopt_api.text import one_line
from mopt_optimizer.errors import DataError, ObjectNotFound, SpecError

from .base import MAX_READ_BYTES
from .writing import disk_errors, hashed, replacing, write_chunks

ATTEMPTS = 4
RETRY_SECONDS = 0.5
T = TypeVar("T")


class FilePlace(ABC):
    """Implements Store on one host, by what opens a file there.

    Attributes:
        scheme: Of its uris.
        passing: Errors after which another attempt may help.
    """

    scheme: ClassVar[str]
    passing: ClassVar[type[Exception]]

    def __init__(self, host: str) -> None:
        self._host = host

    @abstractmethod
    def _opened(self, key: str) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Yield a file's size, and its bytes, which are no more.

        Raises:
            ObjectNotFound, StoreAccessDenied, StoreUnreachable.
        """

    def uri(self, key: str) -> str:
        return f"{self.scheme}://{self._host}/{key}"

    def _named(self, key: str) -> str:
        return one_line(self.uri(key))

    def fetch(self, key: str, path: Path) -> str:
        def attempt() -> str:
            with disk_errors(str(path)), replacing(path) as temporary:
                temporary.touch()
                return self._hashed(key, partial(write_chunks, temporary))

        return self._again(key, attempt)

    def digest(self, key: str) -> str | None:
        def pass_over(chunks: Iterable[bytes]) -> None:
            for _ in chunks:
                pass

        return self._if_there(key, lambda: self._hashed(key, pass_over))

    def size(self, key: str) -> int | None:
        def stated() -> int:
            with self._opened(key) as (size, _):
                return size

        return self._if_there(key, stated)

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        def attempt() -> bytes:
            with self._opened(key) as (size, chunks):
                if size > max_bytes:
                    raise DataError(
                        f"{self._named(key)} has {size} bytes, more than the {max_bytes} taken"
                    )
                return b"".join(chunks)

        return self._again(key, attempt)

    def put_file(self, key: str, path: Path) -> None:  # noqa: ARG002 - see the protocol
        self._refuse(key)

    def put_bytes(self, key: str, data: bytes) -> None:  # noqa: ARG002 - see the protocol
        self._refuse(key)

    def list(self, prefix: str) -> list[str]:
        self._refuse(prefix)

    def _refuse(self, key: str) -> NoReturn:
        raise SpecError(
            f"{self._named(key)}: {SCHEMES[self.scheme].shape} is the place of one file: nothing "
            "is listed or written there"
        )

    def _hashed(self, key: str, take: Callable[[Iterable[bytes]], None]) -> str:
        """Give all of a file's bytes to take; return their SHA-256."""
        digest = hashlib.sha256()
        with self._opened(key) as (_, chunks):
            take(hashed(chunks, digest))
        return digest.hexdigest()

    def _if_there(self, key: str, attempt: Callable[[], T]) -> T | None:
        """Return what _again returns; None where there is no such file."""
        try:
            return self._again(key, attempt)
        except ObjectNotFound:
            return None

    def _again(self, key: str, attempt: Callable[[], T]) -> T:  # noqa: ARG002 - of the web's
        """Return what an attempt returns, of ATTEMPTS at most where errors may pass."""
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                return attempt()
            except self.passing:
                if not left:
                    raise
            time.sleep(RETRY_SECONDS * (ATTEMPTS - left))
        raise AssertionError("unreachable")
