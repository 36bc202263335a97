"""HTTP to a store that nobody vouches for: no redirects, bounded answers, in bounded time.

Whoever writes a resource names the endpoint, so it may be any service in the network: what it
answers is read as far as an S3 store's answer can reach, and never quoted.
"""

from __future__ import annotations

import http.client
import io
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as AnswerTimeout

from mopt_api.text import one_line

from .pacing import PacedPool, PacedTlsPool

CONNECT_SECONDS = 3.0
RETRIES = 2
PAUSE_SECONDS = 0.2  # Doubled for each further try.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of all but objects: a listing of 1000 keys of 1024 bytes, each byte escaped, fits."""
QUOTED = 200  # characters of a message of the store

_READ_BYTES = 64 * 1024
_GOOD = (200, 204, 206)
_BUSY = (500, 502, 503, 504)
_REPEATABLE = ("GET", "HEAD", "PUT", "DELETE")


class NotS3(Exception):
    """The answer is not one of an S3 store; says what is wrong with it, in our own words."""


@dataclass
class Budget:
    """What a piece of work of many requests may take.

    Attributes:
        requests: How many are left.
        until: As time.monotonic(); the last one may end after it.
    """

    requests: int
    until: float

    def spend(self) -> None:
        """Take one request.

        Raises:
            NotS3: None is left.
        """
        self.requests -= 1
        if self.requests < 0 or time.monotonic() > self.until:
            raise NotS3("its answers have no end")


class Transport(urllib3.PoolManager):
    """What the S3 client sends its requests through."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        pause_seconds: float,
        budget: Budget | None = None,
        **more: Any,
    ) -> None:
        """
        Args:
            pause_seconds: Longest time between two packets of an answer.
            budget: For all requests together; None for no bound.
            more: See urllib3's class that this one goes before.
        """
        super().__init__(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=pause_seconds),
            ssl_context=context,
            maxsize=8,
            **more,
        )
        self.pool_classes_by_scheme = {"http": PacedPool, "https": PacedTlsPool}
        self._budget = budget

    def urlopen(  # type: ignore[override] # as the base class itself
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: ARG002 - none is followed
        *,
        preload_content: bool = True,
        **kw: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Return an answer: whole, or an object's with its body still to be read, undecoded.

        Raises:
            NotS3: A redirect, an error that is no S3 store's, too large, or the budget is spent.
            HTTPError: No answer, RETRIES times again.
        """
        for left in range(RETRIES, -1, -1):
            if self._budget is not None:
                self._budget.spend()
            try:
                response, body = self._once(method, url, preload_content=preload_content, **kw)
            except HTTPError as error:
                if not left or not _may_repeat(method, error):
                    raise
            else:
                if not left or response.status not in _BUSY or method not in _REPEATABLE:
                    if body is not None:
                        _check(method, response.status, body)
                    return response
            time.sleep(PAUSE_SECONDS * 2 ** (RETRIES - left))
        raise AssertionError("unreachable")

    def _once(
        self, method: str, url: str, *, preload_content: bool, **kw: Any
    ) -> tuple[urllib3.BaseHTTPResponse, bytes | None]:
        """Return an answer and its body; None where that is an object's, still to be read."""
        # Undecoded: lengths, ranges and digests are those of the bytes that are stored.
        response = super().urlopen(
            method,
            url,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            **kw,
        )
        if not preload_content and response.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return response, None
        body = _body(response)
        whole = urllib3.HTTPResponse(
            io.BytesIO(body),
            headers=response.headers,
            status=response.status,
            reason=response.reason,
            decode_content=False,
            request_method=method,
        )
        return whole, body


class ProxiedTransport(Transport, urllib3.ProxyManager):
    """A Transport through a proxy, `proxy_url`: stores that speak TLS are reached by a tunnel."""


def _may_repeat(method: str, error: HTTPError) -> bool:
    """Tell whether a request may be sent again: it never arrived, or twice is as good as once."""
    return method in _REPEATABLE or isinstance(error, ConnectTimeoutError | NewConnectionError)


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    """Return the body of an answer.

    Raises:
        NotS3: It is too large.
        HTTPError: It breaks off.
    """
    body = bytearray()
    for chunk in response.stream(_READ_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            raise NotS3(f"HTTP status {response.status} with a body that has no end")
    response.release_conn()
    return bytes(body)


def _check(method: str, status: int, body: bytes) -> None:
    """Refuse an answer that is certainly none of an S3 store.

    Raises:
        NotS3: A redirect, an error without S3's description of it, or XML that grows when read.
    """
    if 300 <= status < 400:
        raise NotS3(
            f"HTTP status {status}, a redirect, which is not followed: AWS_ENDPOINT_URL must be "
            "the store's own, and AWS_REGION the bucket's"
        )
    if b"<!" in body:  # A document type, which may expand: no store's answer has one.
        raise NotS3(f"HTTP status {status} with a body that is not S3's")
    if method != "HEAD" and status not in _GOOD:
        _check_error(status, body)


def _check_error(status: int, body: bytes) -> None:
    try:
        root = ElementTree.fromstring(body.decode())  # noqa: S314 - no document type, see _check
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise NotS3(f"HTTP status {status} with a body that is not S3's") from error
    if root.tag.rpartition("}")[2] != "Error":
        raise NotS3(f"HTTP status {status} with a body that is not S3's")


def why_no_answer(error: HTTPError) -> str:
    """Return why there is no answer, without a word of whoever is at the other end."""
    causes = list(_causes(error))
    if any(_is_late(cause) for cause in causes):
        return "it takes too long"
    for cause in causes:
        if isinstance(cause, OSError):  # Of this machine: its words, OpenSSL's among them.
            return one_line(str(cause), QUOTED)
    if any(isinstance(c, http.client.HTTPException) for c in causes) and not any(
        isinstance(c, http.client.IncompleteRead) for c in causes
    ):
        return "what it sends is not HTTP"
    return "it breaks off"


def _is_late(error: BaseException) -> bool:
    # urllib3 has a connection that is refused among those that take too long.
    late = isinstance(error, AnswerTimeout | TimeoutError)
    return late and not isinstance(error, NewConnectionError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made from: urllib3 keeps that among the arguments."""
    yield error
    for inner in (*error.args, error.__cause__):
        if isinstance(inner, BaseException) and inner is not error:
            yield from _causes(inner)
