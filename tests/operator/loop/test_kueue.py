"""The version of Kueue's API: what it serves decides."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mopt_operator.cluster.kueue import Kueue, chosen_version
from mopt_operator.errors import NotFound, Refused
from mopt_operator.objects import Job, Raw


def group(*versions: str) -> dict[str, Any]:
    return {"kind": "APIGroup", "versions": [{"version": version} for version in versions]}


@pytest.mark.parametrize(
    ("served", "version"),
    [
        (("v1beta1",), "v1beta1"),
        (("v1beta1", "v1beta2"), "v1beta2"),
        (("v1beta2", "v1"), "v1beta2"),
        (("v2",), None),
        ((), None),
    ],
)
def test_newest_known_version_is_used(served: tuple[str, ...], version: str | None) -> None:
    assert chosen_version(group(*served)) == version


class Server:
    """An API server with Kueue; what it serves may change."""

    def __init__(self, *served: str) -> None:
        self.served = served
        self.calls: list[str] = []
        self.forbidden = False

    async def __call__(self, method: str, path: str) -> dict[str, Any]:
        assert method == "GET"
        self.calls.append(path)
        if path != "/apis/kueue.x-k8s.io" or not self.served:
            raise NotFound(404, "NotFound", path)
        return group(*self.served)

    async def items(self, path: str, query: dict[str, str]) -> list[Raw]:
        self.calls.append(path)
        version = path.split("/")[3]
        if version not in self.served:
            raise NotFound(404, "NotFound", path)
        if self.forbidden:
            raise Refused(403, "Forbidden", path)
        assert path == f"/apis/kueue.x-k8s.io/{version}/namespaces/team/workloads"
        assert query["labelSelector"] == "kueue.x-k8s.io/job-uid=uid-1"
        return [{"version": version}]


JOB = Job("team", "sr-1", "uid-1", "1", "uid", "sr", datetime(2026, 11, 1, tzinfo=UTC))


async def test_version_is_asked_for_once_until_it_is_gone() -> None:
    server = Server()
    kueue = Kueue(server, server.items)
    assert await kueue.workloads(JOB) == []
    server.served = ("v1beta1",)  # Kueue is installed.
    assert await kueue.workloads(JOB) == await kueue.workloads(JOB) == [{"version": "v1beta1"}]
    assert len(server.calls) == 4
    server.served = ("v1beta2",)  # And upgraded.
    assert await kueue.workloads(JOB) == []
    assert await kueue.workloads(JOB) == [{"version": "v1beta2"}]


async def test_kueue_that_may_not_be_read_says_nothing() -> None:
    server = Server("v1beta1", "v1beta2")
    server.forbidden = True
    assert await Kueue(server, server.items).workloads(JOB) == []


async def test_versions_of_the_future_are_not_read() -> None:
    server = Server("v2")
    assert await Kueue(server, server.items).workloads(JOB) == []
    assert server.calls == ["/apis/kueue.x-k8s.io"]
