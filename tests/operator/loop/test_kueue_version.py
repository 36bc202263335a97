"""The version of Kueue's API: what it serves decides."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_operator.cluster.kueue import KueueVersion, chosen_version
from mopt_operator.errors import NotFound


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
    """Discovery; what it serves may change."""

    def __init__(self, *served: str) -> None:
        self.served = served
        self.calls = 0

    async def __call__(self, method: str, path: str) -> dict[str, Any]:
        assert (method, path) == ("GET", "/apis/kueue.x-k8s.io")
        self.calls += 1
        if not self.served:
            raise NotFound(404, "NotFound", path)
        return group(*self.served)


async def test_version_is_asked_for_once_until_it_is_gone() -> None:
    server = Server()
    version = KueueVersion(server)
    assert await version.get() is None
    server.served = ("v1beta1",)  # Kueue is installed.
    assert [await version.get() for _ in range(3)] == ["v1beta1"] * 3
    assert server.calls == 2
    server.served = ("v1beta2",)  # And upgraded.
    version.forget()
    assert await version.get() == "v1beta2"
