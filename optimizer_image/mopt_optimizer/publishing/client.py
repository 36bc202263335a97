"""HTTP to a registry: dxf's protocol, through a session with bounds, and what its errors mean.

Whoever writes a resource names the registry, so it may be any service in the network. An answer is
quoted only as far as it is an error in the form of the OCI distribution specification.
"""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from dxf import DXF, DXFBase
from dxf.exceptions import DXFAuthInsecureError, DXFError, DXFUnauthorizedError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry

from mopt_api.text import one_line
from mopt_optimizer.errors import (
    RegistryAccessDenied,
    RegistryError,
    RegistryRefused,
    RegistryUnreachable,
)
from mopt_optimizer.store.pacing import PacedPool, PacedTlsPool
from mopt_optimizer.store.proxies import proxy_for
from mopt_optimizer.store.transport import why_no_answer
from mopt_optimizer.store.writing import CHUNK_BYTES

from .credentials import Login

CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 60.0
"""Between two packets; also the time that a registry takes to hash what was uploaded."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of all but blobs: the size of manifests that the specification asks registries to take."""
_RETRIES = 2
_REDIRECTS = 4
_QUOTED = 300  # characters of an error of the registry
_FOLLOWED = ("GET", "HEAD")
_BUSY = (502, 503, 504)
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
# What registries say, under 403 and 500 too, that take nothing any more.
_NO_ROOM = ("no space left", "disk quota", "quota exceeded", "exceed the configured", '"err":28')
_NO_WRITES = ("read only", "read-only", "readonly", "immutable")


_POOLS = {"http": PacedPool, "https": PacedTlsPool}


class _Adapter(HTTPAdapter):
    """Connections that trust the system's authorities, and a registry's own, and keep a pace."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(
            max_retries=Retry(
                connect=_RETRIES,
                read=0,
                other=0,  # A certificate stays what it is.
                status=_RETRIES,
                redirect=False,
                status_forcelist=_BUSY,
                allowed_methods=_FOLLOWED,
                backoff_factor=0.2,
                raise_on_status=False,
                respect_retry_after_header=False,
            )
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs, ssl_context=self._context)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class Session(requests.Session):
    """A session with bounds: in time, of redirects, and of answers that are no blobs.

    Attributes:
        last: The answer that came last.
    """

    def __init__(
        self, context: ssl.SSLContext, environ: Mapping[str, str], *, insecure: bool
    ) -> None:
        """
        Args:
            environ: May name a proxy.
            insecure: Speak HTTP too; otherwise no redirect leads there either.
        """
        super().__init__()
        self.trust_env = False  # No ~/.netrc; of the variables, those that proxy_for reads.
        self._environ = environ
        self.max_redirects = _REDIRECTS
        self.adapters.clear()
        for scheme in ("https://", *(["http://"] if insecure else [])):
            self.mount(scheme, _Adapter(context))
        self.last: requests.Response | None = None

    def request(  # type: ignore[override] # as dxf calls it
        self, method: str, url: str, *, stream: bool = False, **kwargs: Any
    ) -> requests.Response:
        """Return an answer: whole, or a blob's with its body still to be read."""
        kwargs["timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS)
        kwargs["allow_redirects"] = method.upper() in _FOLLOWED
        response = super().request(method, url, stream=True, **kwargs)
        self.last = response
        if not (stream and response.ok):
            _take_body(response)
        if response.is_redirect:
            raise _Redirected
        return response

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, and what redirects lead to, each by the way to its own host."""
        proxy = proxy_for(urlsplit(request.url or "").hostname or "", self._environ)
        return super().send(request, **{**kwargs, "proxies": {"https": proxy} if proxy else {}})


class _Redirected(Exception):
    """An upload was answered with a redirect."""


class _TooLong(Exception):
    """An answer has no end."""


def _take_body(response: requests.Response) -> None:
    """Read an answer's body.

    Raises:
        _TooLong, HTTPError.
    """
    body = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
    if len(body) > MAX_ANSWER_BYTES:
        response.close()
        raise _TooLong
    response.raw.release_conn()
    response.raw = io.BytesIO(body)


class Client(DXF):
    """dxf on a session of ours. Used as a context, as dxf is.

    Attributes:
        named: The repository, as messages have it.
    """

    def __init__(
        self,
        repository: str,
        login: Login | None,
        environ: Mapping[str, str],
        *,
        insecure: bool,
        ca: Path | None,
    ) -> None:
        """
        Args:
            repository: HOST[:PORT]/PATH.
            environ: May name a proxy.
            insecure: It speaks HTTP.
            ca: Certificates that are trusted besides the system's.

        Raises:
            RegistryUnreachable: The certificates cannot be used.
        """
        host, _, path = repository.partition("/")
        self.named = repository
        self._login = login
        self._session = Session(_context(ca), environ, insecure=insecure)
        super().__init__(_api_host(host), path, auth=self._authenticate, insecure=insecure)

    def _authenticate(self, _client: DXFBase, response: requests.Response) -> None:
        login = self._login
        if login is None:
            self.authenticate(response=response)
        else:
            self.authenticate(login.user, login.password, response=response)

    def __enter__(self) -> Client:
        self._sessions.insert(0, self._session)
        return self

    def call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Return the answer to a request of the repository, a good one or 404.

        Raises:
            RegistryError.
        """
        with self.errors():
            try:
                answer: requests.Response = self._request(method, path, **kwargs)  # type: ignore[no-untyped-call]
            except requests.HTTPError as error:
                found = error.response
                if method not in ("get", "head") or found.status_code != HTTPStatus.NOT_FOUND:
                    raise
                return found
        return answer

    def blob(self, digest: str) -> Iterator[bytes]:
        """Yield a blob's bytes, whose digest is checked at the end; raises dxf's errors."""
        yield from cast(Iterable[bytes], self.pull_blob(digest, chunk_size=CHUNK_BYTES))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn dxf's and requests' errors into ours.

        Raises:
            RegistryUnreachable, RegistryAccessDenied, RegistryRefused.
        """
        try:
            yield
        except DXFAuthInsecureError as error:
            raise RegistryAccessDenied(
                f"{self.named}: the registry asks for credentials, which are not sent over HTTP "
                "without TLS: serve it over TLS, and leave out insecure"
            ) from error
        except DXFUnauthorizedError as error:
            raise self._denied() from error
        except requests.HTTPError as error:
            raise refusal(self.named, error.response) from error
        except (_Redirected, _TooLong, DXFError, ValueError, LookupError) as error:
            # A challenge, token, redirect or length that is none.
            raise self._no_registry(error) from error
        except requests.TooManyRedirects as error:
            raise RegistryUnreachable(f"{self.named}: the registry redirects in circles") from error
        except requests.RequestException as error:
            raise RegistryUnreachable(f"{self.named}: {_why(error)}") from error
        except HTTPError as error:
            raise RegistryUnreachable(f"{self.named}: no answer: {why_no_answer(error)}") from error

    def _denied(self) -> RegistryAccessDenied:
        last = self._session.last
        said = "HTTP status 401" if last is None else _said(last)
        sent = "rejects the credentials" if self._login else "asks for credentials"
        remedy = "" if self._login else "; credentialsSecretRef names none for it"
        return RegistryAccessDenied(f"{self.named}: the registry {sent}: {said}{remedy}")

    def _no_registry(self, error: Exception) -> RegistryError:
        last = self._session.last
        status = "" if last is None else f"HTTP status {last.status_code} with "
        if last is not None and last.status_code == HTTPStatus.UNAUTHORIZED:
            return RegistryAccessDenied(
                f"{self.named}: {status}no way to log in that is known: neither Basic nor a token"
            )
        what = {
            _Redirected: "a redirect of an upload, which is not followed",
            _TooLong: "a body that has no end",
        }.get(type(error), "no answer of a registry")
        return RegistryUnreachable(f"{self.named}: {status}{what}")


def _api_host(host: str) -> str:
    return "registry-1.docker.io" if host in ("docker.io", "index.docker.io") else host


def _context(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(cafile=str(ca))
        except (ssl.SSLError, OSError) as error:
            raise RegistryUnreachable(
                f"ca.crt in the registry's Secret is no PEM certificate: {error}"
            ) from error
    return context


def _why(error: requests.RequestException) -> str:
    inner = next((each for each in error.args if isinstance(each, HTTPError)), None)
    if isinstance(inner, MaxRetryError) and isinstance(inner.reason, HTTPError):
        inner = inner.reason
    if inner is not None:
        return f"no answer: {why_no_answer(inner)}"
    why = "it takes too long" if isinstance(error, requests.Timeout) else "it breaks off"
    return f"no answer: {why}"


def refusal(named: str, response: requests.Response) -> RegistryError:
    """Return what an answer that is no good one means; see reasons.py. Pure.

    Args:
        named: The repository.
        response: With its body read.
    """
    status = response.status_code
    said, text = _said(response), response.text.lower()
    if status == HTTPStatus.INSUFFICIENT_STORAGE or any(mark in text for mark in _NO_ROOM):
        return RegistryRefused(f"{named}: the registry has no room: {said}")
    read_only = status in _DENIED and any(mark in text for mark in _NO_WRITES)
    if read_only or status == HTTPStatus.METHOD_NOT_ALLOWED:
        return RegistryRefused(f"{named}: the registry takes no uploads: {said}")
    if status in _DENIED:
        return RegistryAccessDenied(f"{named}: the registry denies access: {said}")
    if status in _LATER or (status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED):
        return RegistryUnreachable(f"{named}: the registry fails: {said}")
    return RegistryRefused(f"{named}: the registry refuses: {said}")


def _said(response: requests.Response) -> str:
    """Return the status and the first error of an answer, in the specification's form."""
    status = f"HTTP status {response.status_code}"
    try:
        first = json.loads(response.content)["errors"][0]
        parts = [str(first[name]) for name in ("code", "message") if first.get(name)]
    except (ValueError, LookupError, TypeError, AttributeError):
        return status
    return f"{status} {one_line(': '.join(parts), _QUOTED)}" if parts else status
