"""Any S3 through the MinIO client."""

from __future__ import annotations

import hashlib
import io
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import S3, SCHEMES
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    OptimizerError,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)

from .base import MAX_READ_BYTES, Store
from .writing import CHUNK_BYTES, disk_errors, hashed, replacing, write_chunks

CONNECT_SECONDS = 3.0
# A store that does not answer must be told apart from a slow one within 15 s: three tries of a
# stat come before any transfer.
ANSWER_SECONDS = 4.0
# Between two packets of a transfer; also the time a store takes to join the parts of an upload.
TRANSFER_SECONDS = 60.0
RETRIES = 2
FETCH_ATTEMPTS = 4
FETCH_PAUSE_SECONDS = 0.5
PART_BYTES = 16 * 1024 * 1024

T = TypeVar("T")

_AWS_ENDPOINT = "https://s3.amazonaws.com"
_DEFAULT_REGION = "us-east-1"

_CODES: dict[str, type[OptimizerError]] = {
    "NoSuchKey": ObjectNotFound,
    "NoSuchBucket": ObjectNotFound,
    "NoSuchObject": ObjectNotFound,
    "AccessDenied": StoreAccessDenied,
    "AllAccessDisabled": StoreAccessDenied,
    "AuthorizationHeaderMalformed": StoreAccessDenied,
    "ExpiredToken": StoreAccessDenied,
    "InvalidAccessKeyId": StoreAccessDenied,
    "InvalidSecurity": StoreAccessDenied,
    "InvalidToken": StoreAccessDenied,
    "InvalidTokenId": StoreAccessDenied,
    "SignatureDoesNotMatch": StoreAccessDenied,
    "InvalidBucketName": SpecError,
    "KeyTooLongError": SpecError,
    "XMinioInvalidObjectName": SpecError,
}
"""S3 error codes by what the user must change; any other code is the store's own trouble."""


class _ChangedWhileRead(Exception):
    """The object was replaced between two ranges of a fetch."""


_HINTS = {
    "AccessDenied": " (S3 also answers so for a missing object where the keys lack s3:ListBucket)"
}


@dataclass(frozen=True)
class Access:
    """How to reach a store, from the environment.

    Attributes:
        endpoint: http(s)://HOST[:PORT].
        ca: Certificates in PEM form that are trusted besides the system's.
    """

    endpoint: str
    access_key: str
    secret_key: str
    session_token: str | None
    region: str | None
    ca: str | None

    def __repr__(self) -> str:
        return f"Access({self.endpoint!r})"


def open_uri(
    uri: SplitResult, credentials: Credentials, environ: Mapping[str, str]
) -> tuple[Store, str] | None:
    """See registry.OpenUri."""
    if not uri.netloc:
        return None
    return S3Store.open(uri.netloc, credentials, environ), uri.path.lstrip("/")


def access(credentials: Credentials, environ: Mapping[str, str]) -> Access:
    """Return the access that credentials have in an environment.

    Raises:
        StoreAccessDenied: A key is missing.
        StoreUnreachable: The endpoint is not an http(s) url of a host.
    """
    keys = SCHEMES[S3].keys
    own = {key: environ.get(credentials.variable(key), "").strip() for key in keys}
    # All or nothing: one role's keys with another's token or endpoint would be nobody's.
    used = own if any(own.values()) else {k: environ.get(k, "").strip() for k in keys}
    for key, required in keys.items():
        if required and not used[key]:
            raise StoreAccessDenied(f"no {key} for the {credentials.value.lower()} store")
    endpoint = used["AWS_ENDPOINT_URL"] or _AWS_ENDPOINT
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise StoreUnreachable(f"AWS_ENDPOINT_URL {endpoint!r} is not http(s)://HOST[:PORT]")
    # Keys made for one bucket may not ask for its region, so none is looked up elsewhere.
    default_region = None if endpoint == _AWS_ENDPOINT else _DEFAULT_REGION
    return Access(
        endpoint=f"{parts.scheme}://{parts.netloc}",
        access_key=used["AWS_ACCESS_KEY_ID"],
        secret_key=used["AWS_SECRET_ACCESS_KEY"],
        session_token=used["AWS_SESSION_TOKEN"] or None,
        region=used["AWS_REGION"] or default_region,
        ca=used["ca.crt"] or None,
    )


def _client(granted: Access, *, answer_seconds: float) -> Minio:
    context = ssl.create_default_context()
    if granted.ca:
        try:
            context.load_verify_locations(cadata=granted.ca)
        except (ssl.SSLError, ValueError) as error:
            raise StoreUnreachable(f"ca.crt is not a PEM certificate: {error}") from error
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=answer_seconds),
        ssl_context=context,
        maxsize=8,
        retries=urllib3.Retry(
            total=RETRIES,
            backoff_factor=0.2,
            status_forcelist=[500, 502, 503, 504],
            # The last answer is handed on, with the store's own words.
            raise_on_status=False,
        ),
    )
    parts = urlsplit(granted.endpoint)
    return Minio(
        parts.netloc,
        access_key=granted.access_key,
        secret_key=granted.secret_key,
        session_token=granted.session_token,
        secure=parts.scheme == "https",
        region=granted.region,
        http_client=pool,
    )


def _content_type(key: str) -> str:
    """A browser shows a page only where it is told that it is one."""
    return "text/html; charset=utf-8" if key.endswith(".html") else "application/octet-stream"


class S3Store:
    """Implements Store on one bucket."""

    def __init__(self, bucket: str, granted: Access) -> None:
        self._bucket = bucket
        self._endpoint = granted.endpoint
        self._quick = _client(granted, answer_seconds=ANSWER_SECONDS)
        self._transfer = _client(granted, answer_seconds=TRANSFER_SECONDS)

    @classmethod
    def open(cls, bucket: str, credentials: Credentials, environ: Mapping[str, str]) -> S3Store:
        """Return the store of a bucket, reached as the environment says."""
        return cls(bucket, access(credentials, environ))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        where = f"{self.uri(key)} at {self._endpoint}"
        try:
            yield
        except S3Error as error:
            kind = _CODES.get(error.code or "", StoreUnreachable)
            hint = _HINTS.get(error.code or "", "")
            raise kind(f"{where}: {error.code}: {error.message}{hint}") from error
        except (InvalidResponseError, ServerError) as error:
            raise StoreUnreachable(f"{where}: not an answer of an S3 store: {error}") from error
        except HTTPError as error:
            raise StoreUnreachable(f"{where}: no answer: {_cause(error)}") from error
        except ValueError as error:  # the client's own checks of bucket and object names
            raise SpecError(f"{where}: {error}") from error

    def _stat(self, key: str) -> Object:
        try:
            return self._quick.stat_object(self._bucket, key)
        except S3Error as error:
            if error.response.status != HTTPStatus.NOT_FOUND:
                raise
            # A HEAD has no body: only a GET tells a missing key from a missing bucket, and an
            # S3 store from any other web server.
            self._quick.get_object(self._bucket, key, length=1).close()
            raise

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

        return self._if_there(lambda: self._unchanged(key, lambda: self._hashed(key, pass_over)))

    def _unchanged(self, key: str, attempt: Callable[[], str]) -> str:
        """Return what an attempt to read the object returns that nobody replaces meanwhile."""
        for number in range(1, FETCH_ATTEMPTS + 1):
            try:
                with self._errors(key):
                    return attempt()
            except _ChangedWhileRead as error:
                if number == FETCH_ATTEMPTS:
                    raise StoreUnreachable(
                        f"{self.uri(key)} was replaced {number} times while it was read"
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
                take(counted(hashed(self._range(key, done, stat.etag), digest)))
            except HTTPError:
                # Progress resets the count: a large file may break many times.
                broken = broken + 1 if done == before else 1
                if broken == FETCH_ATTEMPTS:
                    raise
                time.sleep(FETCH_PAUSE_SECONDS * broken)
            except S3Error as error:
                if error.code == "PreconditionFailed":
                    raise _ChangedWhileRead from error
                raise
        return digest.hexdigest()

    def _range(self, key: str, offset: int, etag: str | None) -> Iterator[bytes]:
        headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
        response = self._transfer.get_object(
            self._bucket, key, offset=offset, request_headers=headers
        )
        try:
            yield from response.stream(CHUNK_BYTES)
        finally:
            response.close()
            response.release_conn()

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        with self._errors(key):
            stat = self._stat(key)
            if (stat.size or 0) > max_bytes:
                raise DataError(
                    f"{self.uri(key)} has {stat.size} bytes, more than the {max_bytes} taken"
                )
            return b"".join(self._range(key, 0, stat.etag))

    def put_file(self, key: str, path: Path) -> None:
        with self._errors(key):
            # One part at a time: parts are held in memory.
            self._transfer.fput_object(
                self._bucket, key, str(path), part_size=PART_BYTES, num_parallel_uploads=1
            )

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._errors(key):
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

        return self._if_there(stated)

    def _if_there(self, look: Callable[[], T]) -> T | None:
        """Return what look returns, or None where the bucket has no such object."""
        try:
            return look()
        except ObjectNotFound as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.code == "NoSuchBucket":
                raise
            return None

    def list(self, prefix: str) -> list[str]:
        with self._errors(prefix):
            found = self._quick.list_objects(self._bucket, prefix=prefix, recursive=True)
            return sorted(item.object_name for item in found if item.object_name)

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


def _cause(error: BaseException) -> str:
    """Return the innermost reason of a urllib3 error: the outer ones repeat the whole url."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _cause(inner)
    return str(inner or error) or type(error).__name__
