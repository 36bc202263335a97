"""What Kueue says of a Job, in the version of its API that it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mopt_operator.errors import NotFound, Refused
from mopt_operator.objects import Job, Raw

GROUP_PATH = "/apis/kueue.x-k8s.io"
# What this operator reads is the same in both; the newer one stays for longer.
KNOWN_VERSIONS = ("v1beta2", "v1beta1")


class Calls(Protocol):
    """Makes a call; see cluster.requests."""

    async def __call__(self, method: str, path: str) -> Raw: ...


# Returns all objects of a list; see cluster.pages.
Items = Callable[[str, dict[str, str]], Awaitable[list[Raw]]]


def chosen_version(group: Raw) -> str | None:
    """Return the version to use of those in an APIGroup; None where none is known here."""
    served = {version["version"] for version in group.get("versions") or ()}
    return next((version for version in KNOWN_VERSIONS if version in served), None)


class Kueue:
    """Kueue's API; its version is asked for once, until it is no longer served."""

    def __init__(self, request: Calls, items: Items) -> None:
        self._request = request
        self._items = items
        self._version: str | None = None

    async def workloads(self, job: Job) -> list[Raw]:
        """Return Kueue's objects for a Job; none where Kueue is missing or may not be read."""
        try:
            if self._version is None:
                self._version = chosen_version(await self._request("GET", GROUP_PATH))
            if self._version is None:
                return []
            path = f"{GROUP_PATH}/{self._version}/namespaces/{job.namespace}/workloads"
            # resourceVersion 0 reads from the API server's memory: a slightly old answer will do.
            query = {
                "labelSelector": f"kueue.x-k8s.io/job-uid={job.uid}",
                "resourceVersion": "0",
            }
            return await self._items(path, query)
        except NotFound:
            self._version = None
            return []
        except Refused:
            return []
