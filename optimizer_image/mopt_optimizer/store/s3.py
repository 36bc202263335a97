"""Any S3 through the MinIO client."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult

from minio import Minio
from minio.datatypes import Object
from minio.error import S3Error
from minio.helpers import check_bucket_name, check_object_name
from urllib3.exceptions import HTTPError

from mopt_api.jobs.plan import Credentials
from mopt_api.text import one_line
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    SpecError,
    StoreUnreachable,
)

from .access import Access, access
from .answers import reading_answers, store_errors
from .base import MAX_KEYS, MAX_READ_BYTES, Store
from .client import client_of, tls_context
from .identity import provider_of
from .transport import QUOTED, Budget, NotS3
from .writing import CHUNK_BYTES, disk_errors, hashed, replacing, write_chunks

# A store that does not answer must be told apart from a slow one within 15 s: three tries of a
# stat come before any transfer.
ANSWER_SECONDS = 4.0
# Between two packets of a transfer; also the time a store takes to join the parts of an upload.
TRANSFER_SECONDS = 60.0
FETCH_ATTEMPTS = 4
FETCH_PAUSE_SECONDS = 0.5
# Less than this before a transfer breaks counts as no progress.
PROGRESS_BYTES = 1024 * 1024
PART_BYTES = 16 * 1024 * 1024
LIST_REQUESTS = 2000
LIST_SECONDS = 120.0

T = TypeVar("T")


class _ChangedWhileRead(Exception):
    """The object was replaced between two ranges of a fetch."""


class _BrokeOff(HTTPError):
    """Fewer bytes came than the store said."""


def open_uri(
    uri: SplitResult, credentials: Credentials, environ: Mapping[str, str]
) -> tuple[Store, str] | None:
    """See registry.OpenUri."""
    if not uri.netloc:
        return None
    return S3Store.open(uri.netloc, credentials, environ), uri.path.lstrip("/")


def _content_type(key: str) -> str:
    """A browser shows a page only where it is told that it is one."""
    return "text/html; charset=utf-8" if key.endswith(".html") else "application/octet-stream"


def _listed(client: Minio, bucket: str, prefix: str) -> set[str] | None:
    """Return the keys that start with a prefix; None where there are more than MAX_KEYS.

    Raises:
        NotS3: The list has no end, or has other keys.
    """
    keys: set[str] = set()
    for item in client.list_objects(bucket, prefix=prefix, recursive=True):
        key = item.object_name or ""
        if not key.startswith(prefix):
            raise NotS3("an object outside of the folder that was asked for")
        keys.add(key)
        if len(keys) > MAX_KEYS:
            return None
    return keys - {""}


def _if_there(look: Callable[[], T]) -> T | None:
    """Return what look returns, or None where the bucket has no such object."""
    try:
        return look()
    except ObjectNotFound as error:
        if isinstance(error.__cause__, S3Error) and error.__cause__.code == "NoSuchBucket":
            raise
        return None


class S3Store:
    """Implements Store on one bucket."""

    def __init__(self, bucket: str, granted: Access) -> None:
        self._bucket = bucket
        self._granted = granted
        self._context = tls_context(granted)
        self._keys = provider_of(granted.keys, self._context)
        self._quick = client_of(granted, self._keys, self._context, ANSWER_SECONDS)
        self._transfer = client_of(granted, self._keys, self._context, TRANSFER_SECONDS)

    @classmethod
    def open(cls, bucket: str, credentials: Credentials, environ: Mapping[str, str]) -> S3Store:
        """Return the store of a bucket, reached as the environment says."""
        return cls(bucket, access(credentials, environ))

    def _errors(self, key: str) -> AbstractContextManager[None]:
        how = ", read without keys (credentials: Anonymous)" if self._keys is None else ""
        return store_errors(f"{self._named(key)} at {self._granted.endpoint}{how}")

    def _check_name(self, key: str) -> None:
        """Refuse names that the client would refuse: its errors then are about answers alone.

        Raises:
            SpecError: Of a bucket or an object.
        """
        try:
            check_bucket_name(self._bucket)
            check_object_name(key)
        except ValueError as error:
            raise SpecError(f"{self._named(key)}: {one_line(str(error), QUOTED)}") from error

    def _stat(self, key: str) -> Object:
        self._check_name(key)
        try:
            with reading_answers():
                found = self._quick.stat_object(self._bucket, key)
        except S3Error as error:
            if error.response.status != HTTPStatus.NOT_FOUND:
                raise
            # A HEAD has no body: only a GET tells a missing key from a missing bucket, and an
            # S3 store from any other web server.
            with reading_answers():
                self._quick.get_object(self._bucket, key, length=1).close()
            raise
        if (found.size or 0) < 0:
            raise NotS3("an object's size below zero")
        return found

    def fetch(self, key: str, path: Path) -> str:
        """See Store. A broken transfer goes on where it broke, on the same object (If-Match)."""

        def attempt() -> str:
            with disk_errors(str(path)), replacing(path) as temporary:
                temporary.touch()
                return self._hashed(key, partial(write_chunks, temporary))

        return self._unchanged(key, attempt)

    def digest(self, key: str) -> str | None:
        def pass_over(chunks: Iterable[bytes]) -> None:
            for _ in chunks:
                pass

        return _if_there(lambda: self._unchanged(key, lambda: self._hashed(key, pass_over)))

    def _unchanged(self, key: str, attempt: Callable[[], str]) -> str:
        """Return what an attempt to read the object returns that nobody replaces meanwhile."""
        for number in range(1, FETCH_ATTEMPTS + 1):
            try:
                with self._errors(key):
                    return attempt()
            except _ChangedWhileRead as error:
                if number == FETCH_ATTEMPTS:
                    raise StoreUnreachable(
                        f"{self._named(key)} was replaced {number} times while it was read"
                    ) from error
        raise AssertionError("unreachable")

    def _hashed(self, key: str, take: Callable[[Iterable[bytes]], None]) -> str:
        """Give all of an object's bytes to take, range after range; return their SHA-256."""
        stat = self._stat(key)
        size = stat.size or 0
        digest = hashlib.sha256()
        done = broken = 0

        def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal done
            for chunk in chunks:
                done += len(chunk)
                yield chunk

        while (before := done) < size:
            try:
                take(counted(hashed(self._range(key, done, size, stat.etag), digest)))
            except HTTPError:
                # Progress resets the count: a large file may break many times.
                broken = broken + 1 if done - before < PROGRESS_BYTES else 1
                if broken == FETCH_ATTEMPTS:
                    raise
                time.sleep(FETCH_PAUSE_SECONDS * broken)
            except S3Error as error:
                if error.code == "PreconditionFailed":
                    raise _ChangedWhileRead from error
                raise
        return digest.hexdigest()

    def _range(self, key: str, offset: int, size: int, etag: str | None) -> Iterator[bytes]:
        """Yield an object's bytes from an offset to its end, never more.

        Args:
            size: Of the object, as the store said.

        Raises:
            NotS3: There are more bytes, or they are not those from the offset on.
            HTTPError: It breaks off.
        """
        headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
        with reading_answers():
            response = self._transfer.get_object(
                self._bucket, key, offset=offset, request_headers=headers
            )
        left = size - offset
        try:
            if offset and response.status != HTTPStatus.PARTIAL_CONTENT:
                raise NotS3("all of an object where a part was asked for")
            for chunk in response.stream(CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise NotS3(f"more than the {size} bytes that it said the object has")
                yield chunk
            if left:
                raise _BrokeOff
        finally:
            response.close()
            response.release_conn()

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        with self._errors(key):
            stat = self._stat(key)
            size = stat.size or 0
            if size > max_bytes:
                raise DataError(
                    f"{self._named(key)} has {size} bytes, more than the {max_bytes} taken"
                )
            return b"".join(self._range(key, 0, size, stat.etag))

    def put_file(self, key: str, path: Path) -> None:
        self._check_name(key)
        with self._errors(key), reading_answers():
            # One part at a time: parts are held in memory.
            self._transfer.fput_object(
                self._bucket, key, str(path), part_size=PART_BYTES, num_parallel_uploads=1
            )

    def put_bytes(self, key: str, data: bytes) -> None:
        self._check_name(key)
        with self._errors(key), reading_answers():
            self._transfer.put_object(
                self._bucket,
                key,
                io.BytesIO(data),
                len(data),
                content_type=_content_type(key),
                part_size=PART_BYTES,
            )

    def size(self, key: str) -> int | None:
        def stated() -> int:
            with self._errors(key):
                return self._stat(key).size or 0

        return _if_there(stated)

    def list(self, prefix: str) -> list[str]:
        """See Store.

        Raises:
            DataError: There are more than MAX_KEYS.
            StoreUnreachable: The list has no end.
        """
        self._check_name(prefix or "-")
        budget = Budget(LIST_REQUESTS, time.monotonic() + LIST_SECONDS)
        client = client_of(self._granted, self._keys, self._context, ANSWER_SECONDS, budget)
        with self._errors(prefix), reading_answers():
            keys = _listed(client, self._bucket, prefix)
        if keys is None:
            raise DataError(
                f"{self._named(prefix)} holds more than {MAX_KEYS} objects: name a smaller folder"
            )
        return sorted(keys)

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _named(self, key: str) -> str:
        """Return the uri as messages have it: whoever may write to a bucket names its objects."""
        return one_line(self.uri(key))
