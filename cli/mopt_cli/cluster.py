"""The API server, with the user's permissions: what commands read and write, and nothing else.

mopt.dev  modeloptimizations  list watch  (`mopt gc` and `mopt get -A`: list, in all namespaces)
                              patch       (`mopt rerun`, `suspend`, `resume`, Client.apply, which
                                          creates too)
""        pods                list watch
""        pods/log            get
""        events              list        (`mopt describe`)
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
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

from ._errors import NoCluster
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
_ROOT = f"/apis/{GROUP}/{VERSION}"
_JSON = "application/json"
_METADATA = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_FIELD_MANAGER = "mopt"


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


@dataclass(frozen=True)
class _Patch:
    """A change: its content type, and its body."""

    kind: str
    body: Raw


class Cluster:
    """A namespace of a cluster."""

    def __init__(self, client: ApiClient, access: Access, namespace: str) -> None:
        self._client = client
        self._access = access
        self.namespace = namespace
        self._path = f"{_ROOT}/namespaces/{quote(namespace)}/{PLURAL}"

    async def renew(self) -> None:
        """Load the credentials again: those of a plugin expire within minutes.

        Raises:
            NoCluster: There are none.
        """
        await _load(self._access, self._client.configuration)

    def resources(self, name: str | None = None) -> AsyncGenerator[tuple[Raw, ...]]:
        """Yield all ModelOptimizations, or the named one, now and after each change.

        Raises:
            Refused: The server ended the watch; 410: list again.
            NoAnswer: The connection broke.
        """
        return self._objects(self._path, {"fieldSelector": f"metadata.name={name}"} if name else {})

    def pods(self, name: str) -> AsyncGenerator[tuple[Raw, ...]]:
        """Yield the Pods of a ModelOptimization; as resources."""
        path = f"/api/v1/namespaces/{quote(self.namespace)}/pods"
        return self._objects(path, {"labelSelector": f"{LABEL_NAME}={name}"})

    async def pages(
        self, *, everywhere: bool = False, selector: str | None = None
    ) -> AsyncGenerator[tuple[Raw, ...]]:
        """Yield the ModelOptimizations of the namespace, page after page.

        Args:
            everywhere: Those of all namespaces.
            selector: Of labels, as kubectl's -l.

        Raises:
            Refused: The list is forbidden; 410: it took too long, and has to be read again.
            NoAnswer: The connection broke.
        """
        path = f"{_ROOT}/{PLURAL}" if everywhere else self._path
        async for page in self._pages(path, {"labelSelector": selector} if selector else {}):
            yield page

    async def names(self) -> list[str]:
        """Return the names of the namespace's ModelOptimizations; as pages."""
        pages = self._pages(self._path, {}, accept=_METADATA)
        return [raw["metadata"]["name"] async for page in pages for raw in page]

    async def events(self, uid: str) -> list[Raw]:
        """Return the Events on an object; as pages."""
        path = f"/api/v1/namespaces/{quote(self.namespace)}/events"
        pages = self._pages(path, {"fieldSelector": f"involvedObject.uid={uid}"})
        return [raw async for page in pages for raw in page]

    async def patch(self, name: str, change: Raw) -> Raw:
        """Merge a change into a ModelOptimization; return it as it is then.

        Raises:
            Refused: It is forbidden or invalid; 404: there is none.
            NoAnswer: The connection broke; it may have been changed.
        """
        return await self._write(name, _Patch(_MERGE, change))

    async def apply(self, manifest: Raw, *, force: bool) -> Raw:
        """Make a ModelOptimization so, by server-side apply; return it as it is then.

        Args:
            force: Take fields over from whoever else owns them.

        Raises:
            Refused, NoAnswer: As patch; 409: a field belongs to somebody else.
        """
        name = str(manifest["metadata"]["name"])
        return await self._write(name, _Patch(_APPLY, manifest), force=str(force).lower())

    async def _write(self, name: str, patch: _Patch, **query: str) -> Raw:
        asked = {"fieldManager": _FIELD_MANAGER, **query}
        return await self._get(f"{self._path}/{quote(name)}", asked, patch=patch)

    async def namespaces(self) -> list[str]:
        """Return the names of all namespaces."""
        answer = await self._get("/api/v1/namespaces", {})
        return [item["metadata"]["name"] for item in answer["items"]]

    async def log(
        self, pod: str, since: int, *, ended: bool, follow: bool = True
    ) -> AsyncGenerator[bytes]:
        """Yield the lines of a Pod's log, each with its time before it, until the log ends.

        Args:
            since: Nanoseconds since the epoch; lines of that very second come again. 0 is all.
            ended: The log is complete, so text after the last line break is a line too.
            follow: Wait for lines that are still to come.

        Raises:
            Refused: No such Pod, no log yet, or no permission to read it.
            NoAnswer: The connection broke.
        """
        path = f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(pod)}/log"
        query = {"container": CONTAINER, "follow": str(follow).lower(), "timestamps": "true"}
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

    async def _pages(
        self, path: str, query: Mapping[str, str], *, accept: str = _JSON
    ) -> AsyncGenerator[tuple[Raw, ...]]:
        further: dict[str, str] = {}
        while True:
            asked = {**query, "limit": str(_PAGE), **further}
            answer = await self._get(path, asked, accept=accept)
            yield tuple(answer["items"] or ())  # null where metadata alone is asked for.
            if not (rest := answer["metadata"].get("continue")):
                return
            further = {"continue": rest}

    async def _get(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        accept: str = _JSON,
        patch: _Patch | None = None,
    ) -> dict[str, Any]:
        lines = self._lines(path, query, _ANSWER, accept=accept, patch=patch)
        return _json(b"\n".join([line async for line in lines]))

    async def _lines(
        self,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        *,
        remainder: bool = True,
        accept: str = _JSON,
        patch: _Patch | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield the lines of a response as they arrive; a very long one is truncated.

        Args:
            remainder: Text after the last line break is a line too.
            patch: What is written there; without it, it is read.
        """
        headers = {"Accept": accept} | ({"Content-Type": patch.kind} if patch else {})
        try:
            response = await _call(
                self._client, f"{path}?{urlencode(query)}", headers, patch, timeout
            )
            async with response, _broken_off(response):
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


@asynccontextmanager
async def _broken_off(response: aiohttp.ClientResponse) -> AsyncIterator[None]:
    """Break the connection off where the answer is left before its end, as a watch is.

    Closing it in order would wait for the server's goodbye, longer than the event loop may run.
    """
    try:
        yield
    finally:
        # Of an answer that is read to its end it was given back already.
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()


async def _call(
    client: ApiClient,
    path: str,
    headers: dict[str, str],
    patch: _Patch | None,
    timeout: aiohttp.ClientTimeout,
) -> aiohttp.ClientResponse:
    call = await client.param_serialize(
        "PATCH" if patch else "GET",
        path,
        header_params=headers,
        body=patch and patch.body,
        auth_settings=["BearerToken"],
    )
    answer = await client.call_api(*call, _request_timeout=timeout)
    response: aiohttp.ClientResponse = answer.response
    return response


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
        NoCluster: No kubeconfig names one.
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
        NoCluster: It cannot be read.
    """
    places = _places(kubeconfig)
    with _usable(places):
        found, _ = list_kube_config_contexts(places)  # type: ignore[no-untyped-call]
        return [context["name"] for context in found]


def _places(kubeconfig: Path | None) -> str:
    """Return the kubeconfig's files as the client takes them."""
    places = str(kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG)
    if not any(Path(place).expanduser().is_file() for place in places.split(os.pathsep)):
        raise NoCluster(f"no kubeconfig at {places}: set KUBECONFIG or --kubeconfig")
    return places


@contextmanager
def _usable(places: str) -> Iterator[None]:
    """Turn what is wrong with a kubeconfig into one line."""
    try:
        yield
    # The client stumbles over a context that names no user of the file, and over empty ones.
    except (ConfigException, TypeError, KeyError, OSError, ValueError, yaml.YAMLError) as error:
        raise NoCluster(f"kubeconfig {places} cannot be used: {error}") from error
