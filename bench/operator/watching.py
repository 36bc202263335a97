"""Watches of the bench, as raw JSON: the client's models would cost more than the cluster."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError

from .cluster import NAMESPACE, client

Json = dict[str, Any]

RESOURCES = f"/apis/mopt.dev/v1alpha1/namespaces/{NAMESPACE}/modeloptimizations"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"


def _get(path: str, **query: str) -> Any:
    """Return the urllib3 response to a GET, not read yet."""
    api = client.ApiClient()
    url = f"{api.configuration.host}{path}?{urlencode(query)}"
    return api.call_api("GET", url, header_params={"Accept": "application/json"}).response


def version_now(path: str) -> str:
    """Return the version from which a watch sees what comes next."""
    found = json.loads(_get(path, limit="1").data)
    return str(found["metadata"]["resourceVersion"])


class Arrivals:
    """When each object of a kind first fulfilled a condition, as the API server told it."""

    def __init__(
        self,
        path: str,
        holds: Callable[[Json], bool],
        then: Callable[[str], object] = str,
    ) -> None:
        self.times: dict[str, float] = {}
        self._holds, self._then, self._path = holds, then, path
        self._version = version_now(path)
        self._ended = threading.Event()
        self._answer: Any = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        if self._answer is not None:
            self._answer.shutdown()
        self._thread.join()

    def wait(self, count: int, patience: float) -> None:
        """Wait until that many objects are there.

        Raises:
            TimeoutError: Nothing came for that many seconds.
        """
        seen, since = len(self.times), time.monotonic()
        while len(self.times) < count:
            time.sleep(0.02)
            if len(self.times) != seen:
                seen, since = len(self.times), time.monotonic()
            if time.monotonic() - since > patience:
                raise TimeoutError(f"{seen} of {count} after {patience:.0f} s without another one")

    def _follow(self) -> None:
        while not self._ended.is_set():
            try:
                for event in self._events():
                    self._take(event)
            except HTTPError:
                # Cut short at the end of the bench, or by a server that closes: from there again.
                continue

    def _take(self, event: Json) -> None:
        item = event["object"]
        self._version = item["metadata"]["resourceVersion"]
        name = item["metadata"].get("name", "")
        shown = event["type"] in ("ADDED", "MODIFIED")
        if shown and name not in self.times and self._holds(item):
            self.times[name] = time.monotonic()
            self._then(name)

    def _events(self) -> Iterator[Json]:
        answer = self._answer = _get(
            self._path,
            watch="1",
            resourceVersion=self._version,
            allowWatchBookmarks="true",
            timeoutSeconds="300",
        )
        rest = b""
        for chunk in answer.stream(2**16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines)


def condition(item: Json, kind: str) -> bool:
    """Tell whether an object's condition is True."""
    return any(
        c["type"] == kind and c["status"] == "True"
        for c in item.get("status", {}).get("conditions", ())
    )
