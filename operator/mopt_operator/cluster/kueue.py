"""Which version of its API Kueue serves."""

from __future__ import annotations

from typing import Protocol

from mopt_operator.errors import NotFound, Refused
from mopt_operator.objects import Raw

GROUP_PATH = "/apis/kueue.x-k8s.io"
# What this operator reads is the same in both; the newer one stays for longer.
KNOWN_VERSIONS = ("v1beta2", "v1beta1")


class Calls(Protocol):
    """Makes a call; see cluster.requests."""

    async def __call__(self, method: str, path: str) -> Raw: ...


def chosen_version(group: Raw) -> str | None:
    """Return the version to use of those in an APIGroup; None where none is known here."""
    served = {version["version"] for version in group.get("versions") or ()}
    return next((version for version in KNOWN_VERSIONS if version in served), None)


class KueueVersion:
    """The version to use, asked for once until it is no longer served."""

    def __init__(self, request: Calls) -> None:
        self._request = request
        self._version: str | None = None

    async def get(self) -> str | None:
        """Return the version; None where Kueue is missing or serves none that is known here."""
        if self._version is None:
            try:
                self._version = chosen_version(await self._request("GET", GROUP_PATH))
            except (NotFound, Refused):
                return None
        return self._version

    def forget(self) -> None:
        """Ask again next time: what was found is not served any more."""
        self._version = None
