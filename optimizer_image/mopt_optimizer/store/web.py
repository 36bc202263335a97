"""A model on a web server: one file, read over HTTPS, without credentials.

Its digest is known, so nobody on the way is trusted; still, answers are bounded and come at a pace.
Where the environment names a proxy (HTTPS_PROXY, NO_PROXY), it is used.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3
from urllib3.exceptions import HTTPError

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import HTTPS, SCHEMES
from mopt_api.text import one_line
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)

from .base import MAX_READ_BYTES, Store
from .pacing import PacedTlsPool
from .transport import CONNECT_SECONDS, why_no_answer
from .writing import CHUNK_BYTES, disk_errors, hashed, replacing, write_chunks

PAUSE_SECONDS = 60.0  # Longest time between two packets of an answer.
ATTEMPTS = 4
RETRY_SECONDS = 0.5
MOST_REDIRECTS = 5
"""Releases and model hubs answer with the address of a network that delivers."""
T = TypeVar("T")

_BUSY = (429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class _Busy(HTTPError):
    """The server asks to be asked again."""


def open_uri(
    uri: SplitResult,
    credentials: Credentials,  # noqa: ARG001 - of stores that have any
    environ: Mapping[str, str],
) -> tuple[Store, str] | None:
    """See registry.OpenUri."""
    if not uri.hostname or not uri.path.strip("/") or uri.query or uri.fragment:
        return None
    return WebStore(uri.netloc, environ), uri.path.lstrip("/")


def proxy_for(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy by which a host is reached over HTTPS; None where there is none. Pure."""
    named = {name.lower(): value.strip() for name, value in environ.items()}
    proxy = named.get("https_proxy")
    if not proxy or proxy_bypass_environment(host, {"no": named.get("no_proxy", "")}):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class WebStore:
    """Implements Store on one host, as far as a web server has it: nothing is written or listed."""

    def __init__(self, host: str, environ: Mapping[str, str]) -> None:
        self._host = host
        self._environ = environ
        self._context = ssl.create_default_context()

    def uri(self, key: str) -> str:
        return f"{HTTPS}://{self._host}/{key}"

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
            # Not by HEAD: addresses that are signed for GET refuse it.
            with self._answer(key) as (size, _):
                return size

        return self._if_there(key, stated)

    def _hashed(self, key: str, take: Callable[[Iterable[bytes]], None]) -> str:
        """Give all of a file's bytes to take; return their SHA-256."""
        digest = hashlib.sha256()
        with self._answer(key) as (_, chunks):
            take(hashed(chunks, digest))
        return digest.hexdigest()

    def _if_there(self, key: str, attempt: Callable[[], T]) -> T | None:
        """Return what _again returns; None where there is no such file."""
        try:
            return self._again(key, attempt)
        except ObjectNotFound:
            return None

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        def attempt() -> bytes:
            with self._answer(key) as (size, chunks):
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
            f"{self._named(key)}: {SCHEMES[HTTPS].shape} is a model's place alone: nothing is "
            "listed or written there"
        )

    def _named(self, key: str) -> str:
        return one_line(self.uri(key))

    def _again(self, key: str, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns, of ATTEMPTS at most where the network fails.

        Raises:
            StoreUnreachable: It fails each time.
        """
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                return attempt()
            except _Busy as error:
                if not left:
                    raise StoreUnreachable(f"{self._named(key)}: {error}") from error
            except HTTPError as error:
                if not left:
                    why = why_no_answer(error)
                    raise StoreUnreachable(f"{self._named(key)}: no answer: {why}") from error
            time.sleep(RETRY_SECONDS * (ATTEMPTS - left))
        raise AssertionError("unreachable")

    @contextmanager
    def _answer(self, key: str) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield the file's size, and its bytes, which are as many.

        Raises:
            ObjectNotFound, StoreAccessDenied, StoreUnreachable.
            HTTPError: No answer, one that breaks off, or the server is busy.
        """
        address = self.uri(key)
        for _ in range(MOST_REDIRECTS + 1):
            with self._get(address) as response:
                if response.status in _REDIRECTS:
                    address = self._onward(key, address, response)
                    continue
                size = self._size(key, response)
                yield size, _exactly(size, response)
                return
        raise StoreUnreachable(f"{self._named(key)}: more than {MOST_REDIRECTS} redirects")

    @contextmanager
    def _get(self, address: str) -> Iterator[urllib3.BaseHTTPResponse]:
        host = urlsplit(address).hostname or ""
        manager = self._manager(proxy_for(host, self._environ))
        try:
            response = manager.request(
                "GET",
                address,
                headers={"Accept-Encoding": "identity"},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                yield response
            finally:
                response.close()
        finally:
            manager.clear()

    def _manager(self, proxy: str | None) -> urllib3.PoolManager:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=PAUSE_SECONDS)
        if proxy is None:
            manager = urllib3.PoolManager(timeout=timeout, ssl_context=self._context)
        else:
            manager = urllib3.ProxyManager(proxy, timeout=timeout, ssl_context=self._context)
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, HTTPS: PacedTlsPool}
        return manager

    def _onward(self, key: str, address: str, response: urllib3.BaseHTTPResponse) -> str:
        """Return where a redirect leads."""
        there = urljoin(address, response.headers.get("Location", ""))
        parts = urlsplit(there)
        if parts.scheme != HTTPS or not parts.hostname or "@" in parts.netloc:
            raise StoreUnreachable(
                f"{self._named(key)}: a redirect to what is not {SCHEMES[HTTPS].shape}"
            )
        return there

    def _size(self, key: str, response: urllib3.BaseHTTPResponse) -> int:
        """Return how many bytes an answer has."""
        status, named = response.status, self._named(key)
        if status in _GONE:
            raise ObjectNotFound(f"{named}: HTTP status {status}")
        if status in _DENIED:
            raise StoreAccessDenied(f"{named}: HTTP status {status}: it must be public")
        if status in _BUSY:
            raise _Busy(f"HTTP status {status}")
        if status != HTTPStatus.OK:
            raise StoreUnreachable(f"{named}: HTTP status {status}")
        length = response.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or response.headers.get("Content-Encoding"):
            raise StoreUnreachable(f"{named}: the server does not say how many bytes the file has")
        return int(length)


def _exactly(size: int, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the bytes of an answer.

    Raises:
        HTTPError: There are fewer than it said.
    """
    left = size
    for chunk in response.stream(CHUNK_BYTES):
        left -= len(chunk)
        yield chunk
    if left:
        raise HTTPError("it breaks off")
