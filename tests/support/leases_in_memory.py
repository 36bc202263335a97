"""An API server's Lease in memory."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from mopt_operator.errors import Conflict, NotFound, Unreachable

Json = dict[str, Any]


class LeasesInMemory:
    """One Lease; `down` makes every call fail.

    Attributes:
        writes: How often it was written.
    """

    def __init__(self) -> None:
        self.raw: Json | None = None
        self.down = False
        self.writes = 0
        self._version = 0
        self._written = time.monotonic()

    def seconds_since_write(self) -> float:
        return time.monotonic() - self._written

    def seize(self, holder: str) -> None:
        """Let somebody else have it, as a second operator that takes it would."""
        assert self.raw is not None
        self.raw["spec"]["holderIdentity"] = holder
        self._put(self.raw)

    def _put(self, lease: Mapping[str, Any]) -> Json:
        self._version += 1
        self.writes += 1
        self._written = time.monotonic()
        self.raw = copy.deepcopy(dict(lease))
        self.raw["metadata"]["resourceVersion"] = str(self._version)
        return self.raw

    def _answer(self) -> None:
        if self.down:
            raise Unreachable("no answer")

    async def read_lease(self, namespace: str, name: str) -> Json:
        self._answer()
        if self.raw is None:
            raise NotFound(404, "NotFound", name)
        return copy.deepcopy(self.raw)

    async def create_lease(self, lease: Mapping[str, Any]) -> Json:
        self._answer()
        if self.raw is not None:
            raise Conflict(409, "AlreadyExists", "")
        return self._put(lease)

    async def replace_lease(self, lease: Mapping[str, Any]) -> Json:
        self._answer()
        if self.raw is None:
            raise NotFound(404, "NotFound", "")
        if lease["metadata"]["resourceVersion"] != self.raw["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        return self._put(lease)

    @property
    def holder(self) -> str:
        assert self.raw is not None
        return str(self.raw["spec"]["holderIdentity"])
