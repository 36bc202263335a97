"""A file on a web server, a model or an archive of data: read over HTTPS, without credentials.

Its digest is known, so nobody on the way is trusted; still, answers are bounded and come at a pace.
Where the environment names a proxy (HTTPS_PROXY, NO_PROXY), it is used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import HTTPS, SCHEMES
from mopt_optimizer.errors import ObjectNotFound, StoreAccessDenied, StoreUnreachable

from .base import Store
from .file_place import FilePlace
from .pacing import PacedTlsPool
from .proxies import proxy_to
from .transport import CONNECT_SECONDS, why_no_answer
from .writing import CHUNK_BYTES

PAUSE_SECONDS = 60.0  # Longest time between two packets of an answer.
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


class WebStore(FilePlace):
    """Implements Store on one host, as far as a web server has it: nothing is written or listed."""

    scheme = HTTPS
    passing = HTTPError

    def __init__(self, host: str, environ: Mapping[str, str]) -> None:
        super().__init__(host)
        self._environ = environ
        self._context = ssl.create_default_context()

    def _again(self, key: str, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns, of ATTEMPTS at most where the network fails.

        Raises:
            StoreUnreachable: It fails each time.
        """
        try:
            return super()._again(key, attempt)
        except _Busy as error:
            raise StoreUnreachable(f"{self._named(key)}: {error}") from error
        except HTTPError as error:
            why = why_no_answer(error)
            raise StoreUnreachable(f"{self._named(key)}: no answer: {why}") from error

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, Iterator[bytes]]]:
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
        manager = self._manager(proxy_to(address, self._environ))
        try:
            # For a size too, not HEAD: addresses that are signed for GET refuse that.
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
