"""The API server, with the user's permissions: what commands read, and nothing else.

mopt.dev  modeloptimizations  list watch  (`mopt gc`: list, in all namespaces)
""        pods                list watch
""        pods/log            get
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, list_kube_config_contexts, load_kube_config

from mopt_api.base import GROUP, PLURAL, VERSION
from mopt_api.labels import CONTAINER, LABEL_NAME

from ._errors import CliError
from .access import Access

Raw = Mapping[str, Any]

_CONNECT_SECONDS = 10
_ANSWER = aiohttp.ClientTimeout(total=30, sock_connect=_CONNECT_SECONDS)
# Bookmarks come every minute: a watch that is silent for longer is dead.
_WATCH = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=150)
_WATCH_SECONDS = 300
_PAUSE_SECONDS = 1.0  # Before an ended watch is reopened, even if it ends at once.
# A log may be silent for long, a dead connection too: on a new request it continues where it was.
_LOG = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=120)
_MAX_LINE_BYTES = 4 * 1024 * 1024
_PAGE = 500
_DEFAULT_KUBECONFIG = "~/.kube/config"


class Refused(Exception):
    """The API server answered with an error.

    Attributes:
        status: HTTP status code.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NoAnswer(Exception):
    """The API server did not answer, or the connection broke."""


class Cluster:
    """A namespace of a cluster."""

    def __init__(self, client: ApiClient, access: Access, namespace: str) -> None:
        self._client = client
        self._access = access
        self.namespace = namespace

    async def renew(self) -> None:
        """Load the credentials again: those of a plugin expire within minutes.

        Raises:
            CliError: There are none.
        """
        await _load(self._access, self._client.configuration)

    def resources(self, name: str | None = None) -> AsyncGenerator[tuple[Raw, ...]]:
        """Yield all ModelOptimizations, or the named one, now and after each change.

        Raises:
            Refused: The server ended the watch; 410: list again.
            NoAnswer: The connection broke.
        """
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(self.namespace)}/{PLURAL}"
        return self._objects(path, {"fieldSelector": f"metadata.name={name}"} if name else {})

    def pods(self, name: str) -> AsyncGenerator[tuple[Raw, ...]]:
        """Yield the Pods of a ModelOptimization; as resources."""
        path = f"/api/v1/namespaces/{quote(self.namespace)}/pods"
        return self._objects(path, {"labelSelector": f"{LABEL_NAME}={name}"})

    async def everywhere(self) -> AsyncGenerator[tuple[Raw, ...]]:
        """Yield the ModelOptimizations of all namespaces, page after page.

        Raises:
            Refused: The list is forbidden; 410: it took too long, and has to be read again.
            NoAnswer: The connection broke.
        """
        query = {"limit": str(_PAGE)}
        while True:
            answer = await self._get(f"/apis/{GROUP}/{VERSION}/{PLURAL}", query)
            yield tuple(answer["items"])
            if not (further := answer["metadata"].get("continue")):
                return
            query = {"limit": str(_PAGE), "continue": further}

    async def namespaces(self) -> list[str]:
        """Return the names of all namespaces."""
        answer = await self._get("/api/v1/namespaces", {})
        return [item["metadata"]["name"] for item in answer["items"]]

    async def log(self, pod: str, since: int, *, ended: bool) -> AsyncGenerator[bytes]:
        """Yield the lines of a Pod's log, each with its time before it, until the log ends.

        Args:
            since: Nanoseconds since the epoch; lines of that very second come again. 0 is all.
            ended: The log is complete, so text after the last line break is a line too.

        Raises:
            Refused: No such Pod, no log yet, or no permission to read it.
            NoAnswer: The connection broke.
        """
        path = f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(pod)}/log"
        query = {"container": CONTAINER, "follow": "true", "timestamps": "true"}
        if since:
            second = datetime.fromtimestamp(since // 1_000_000_000, UTC)
            query["sinceTime"] = second.strftime("%Y-%m-%dT%H:%M:%SZ")
        async for line in self._lines(path, query, _LOG, remainder=ended):
            yield line

    async def _objects(
        self, path: str, selector: Mapping[str, str]
    ) -> AsyncGenerator[tuple[Raw, ...]]:
        answer = await self._get(path, selector)
        found: dict[str, Raw] = {raw["metadata"]["uid"]: raw for raw in answer["items"]}
        version = answer["metadata"]["resourceVersion"]
        yield tuple(found.values())
        while True:
            query = {
                **selector,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(_WATCH_SECONDS),
            }
            async for line in self._lines(path, query, _WATCH, remainder=False):
                event = _json(line)
                kind, raw = event.get("type"), event.get("object") or {}
                if kind == "ERROR":
                    raise Refused(raw.get("code", 0), raw.get("message", ""))
                version = raw["metadata"]["resourceVersion"]
                if kind == "BOOKMARK":
                    continue
                if kind == "DELETED":
                    found.pop(raw["metadata"]["uid"], None)
                else:
                    found[raw["metadata"]["uid"]] = raw
                yield tuple(found.values())
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        return _json(b"\n".join([line async for line in self._lines(path, query, _ANSWER)]))

    async def _lines(
        self,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        *,
        remainder: bool = True,
    ) -> AsyncGenerator[bytes]:
        """Yield the lines of a response as they arrive; a very long one is truncated.

        Args:
            remainder: Text after the last line break is a line too.
        """
        headers = {"Accept": "application/json"}
        try:
            call = await self._client.param_serialize(
                "GET",
                f"{path}?{urlencode(query)}",
                header_params=headers,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(*call, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                if response.status >= 400:
                    raise Refused(response.status, _words(await response.read(), response.reason))
                buffer = b""
                async for chunk in response.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        yield line
                    buffer = buffer[:_MAX_LINE_BYTES]
                if buffer and remainder:
                    yield buffer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error


def _json(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise NoAnswer(f"not JSON: {text[:80].decode(errors='replace')}") from error
    if not isinstance(answer, dict):
        raise NoAnswer(f"no object: {text[:80].decode(errors='replace')}")
    return answer


def _words(content: bytes, fallback: str | None) -> str:
    """Return the message of an error's body, a metav1.Status or a proxy's text."""
    try:
        return str(json.loads(content).get("message") or fallback)
    except (ValueError, AttributeError):
        return content[:200].decode(errors="replace") or str(fallback)


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Cluster]:
    """Yield the cluster; nothing is asked of it yet.

    Raises:
        CliError: No kubeconfig names one.
    """
    configuration = Configuration()
    namespace = await _load(access, configuration)
    async with ApiClient(configuration) as client:
        yield Cluster(client, access, access.namespace or namespace)


async def _load(access: Access, configuration: Configuration) -> str:
    """Fill in where and who; return the context's namespace."""
    places = _places(access.kubeconfig)
    with _usable(places):
        loader = await load_kube_config(  # type: ignore[no-untyped-call]
            places,
            context=access.context,
            client_configuration=configuration,
            persist_config=False,
        )
        return str(loader.current_context["context"].get("namespace") or "default")


def contexts(kubeconfig: Path | None) -> list[str]:
    """Return the names of a kubeconfig's contexts.

    Raises:
        CliError: It cannot be read.
    """
    places = _places(kubeconfig)
    with _usable(places):
        found, _ = list_kube_config_contexts(places)  # type: ignore[no-untyped-call]
        return [context["name"] for context in found]


def _places(kubeconfig: Path | None) -> str:
    """Return the kubeconfig's files as the client takes them."""
    places = str(kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG)
    if not any(Path(place).expanduser().is_file() for place in places.split(os.pathsep)):
        raise CliError(f"no kubeconfig at {places}: set KUBECONFIG or --kubeconfig")
    return places


@contextmanager
def _usable(places: str) -> Iterator[None]:
    """Turn what is wrong with a kubeconfig into one line."""
    try:
        yield
    # The client stumbles over a context that names no user of the file, and over empty ones.
    except (ConfigException, TypeError, KeyError, OSError, ValueError, yaml.YAMLError) as error:
        raise CliError(f"kubeconfig {places} cannot be used: {error}") from error
