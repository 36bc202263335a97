"""One request to the API server: JSON in, JSON or a typed error out.

By path and not by the client's generated methods and watch: those make a class of every object,
which we would reduce again; and a list is taken as it is, resourceVersion included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient

from mopt_operator.errors import Unreachable, api_error
from mopt_operator.objects import Raw

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30)
JSON = "application/json"
# Of each object in a list only its metadata.
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML.
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Requests:
    """Makes requests as one client.

    Args:
        fence: Called before each write; raises where this process may not write.
        pace: Waits before each request until it may be made.
    """

    def __init__(
        self,
        client: ApiClient,
        fence: Callable[[], None] | None = None,
        pace: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._client = client
        self._fence = fence
        self._pace = pace

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        body: Raw | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        query: Mapping[str, str] | None = None,
        **more: str,
    ) -> Raw:
        """Make one call; see `content`.

        Raises:
            Unreachable: See `parsed`.
        """
        content = await self.content(
            method,
            path,
            body=body,
            content_type=content_type,
            accept=accept,
            query={**(query or {}), **more},
        )
        return parsed(content, f"{method} {path}")

    async def content(
        self,
        method: str,
        path: str,
        *,
        body: Raw | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        query: Mapping[str, str],
    ) -> bytes:
        """Make one call and return the answer's body.

        Args:
            query: Parameters of the query.

        Raises:
            ApiError: The answer is an error.
            Unreachable: There is no answer.
            OperatorError: The fence is closed.
        """
        if self._pace is not None:
            await self._pace()
        if self._fence is not None and method != "GET" and query.get("dryRun") != "All":
            self._fence()
        headers = {"Accept": accept, "Content-Type": content_type}
        if query:
            path = f"{path}?{urlencode(query)}"
        try:
            # Without the body, which is JSON: the client would copy it value by value.
            method, url, headers, _, form = await self._client.param_serialize(
                method, path, header_params=headers, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(
                method, url, headers, body, form, _request_timeout=REQUEST_TIMEOUT
            )
            content: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if response.status >= 400:
            reason, message = _error_of(content, response.reason)
            raise api_error(response.status, reason, message)
        return content


def parsed(content: bytes, what: str) -> Raw:
    """Return the object that an answer holds.

    Args:
        what: The request.

    Raises:
        Unreachable: It is no JSON object: somebody on the way says what no API server does.
    """
    try:
        answer = orjson.loads(content)
    except ValueError as error:
        raise Unreachable(f"{what}: the answer is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise Unreachable(f"{what}: the answer is no JSON object")
    return answer


def _error_of(content: bytes, fallback: str) -> tuple[str, str]:
    """Return reason and message of an error's body, a metav1.Status or a proxy's text."""
    try:
        status = orjson.loads(content)
        return str(status.get("reason") or fallback), str(status.get("message") or fallback)
    except (ValueError, AttributeError):
        return fallback, content[:200].decode(errors="replace")
