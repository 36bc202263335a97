"""Lists in pages whose size changes on the way, from a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config
from light_cluster import MakeNamespace, MakeResource

from mopt_operator.cluster import pages
from mopt_operator.cluster.api import Cluster

pytestmark = pytest.mark.cluster

RESOURCES = 12


@pytest.mark.parametrize(("whole", "size"), [(True, 16 * 1024), (False, 8 * 1024)])
async def test_each_object_is_listed_once_at_one_moment(
    cluster: Path,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    monkeypatch: pytest.MonkeyPatch,
    *,
    whole: bool,
    size: int,
) -> None:
    namespace = make_namespace()
    for number in range(RESOURCES):
        make_resource(namespace=namespace, name=f"r{number:02}")
    # Small enough for several pages, of one object and of more.
    monkeypatch.setattr(pages, "FIRST_PAGE", 1)
    monkeypatch.setattr(pages, "PAGE_BYTES", size)
    configuration = Configuration()
    load: Any = load_kube_config  # has no types
    await load(str(cluster), client_configuration=configuration)
    names, sizes, versions = [], [], set()
    told: list[tuple[str, int]] = []
    async with ApiClient(configuration) as client:
        listed = Cluster(client, listed=lambda *page: told.append(page))
        async for page in listed.pages("modeloptimizations", namespace, whole=whole):
            names += [raw["metadata"]["name"] for raw in page["items"]]
            sizes.append(len(page["items"]))
            versions.add(page["metadata"]["resourceVersion"])
    assert names == [f"r{number:02}" for number in range(RESOURCES)]
    assert sizes[0] == 1
    assert 1 < max(sizes) < RESOURCES, sizes
    assert len(versions) == 1
    assert {kind for kind, _ in told} == {"modeloptimizations"}
    assert len(told) == len(sizes)
    assert all(0 < count <= 2 * size for _, count in told)
