"""Requests to an API server: lists in pages of bounded size, and writes behind a fence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client import ApiClient, Configuration
from settled_objects import NAMESPACE
from settled_server import SettledServer, served

from mopt_operator.cluster.api import Cluster
from mopt_operator.cluster.client import Client
from mopt_operator.cluster.election import LeaseLost
from mopt_operator.cluster.pages import LARGEST_PAGE, PAGE_BYTES, next_page
from mopt_operator.cluster.requests import parsed
from mopt_operator.errors import Unreachable

RESOURCES = 400


@pytest.fixture(scope="module")
def server() -> SettledServer:
    return SettledServer(RESOURCES)


@pytest.fixture(scope="module")
def host(server: SettledServer) -> Iterator[str]:
    with served(server) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def connected(host: str, fence: Callable[[], None] | None = None) -> AsyncIterator[Cluster]:
    async with ApiClient(Configuration(host=host)) as client:
        yield Cluster(client, fence)


@given(objects=st.integers(0, 500), size=st.integers(0, 10**8))
def test_next_page_fits_unless_a_single_object_does_not(objects: int, size: int) -> None:
    asked = next_page(objects, size)
    assert 1 <= asked <= LARGEST_PAGE
    assert asked == 1 or asked * size <= PAGE_BYTES * max(objects, 1)


@pytest.mark.parametrize(
    ("plural", "objects"), [("modeloptimizations", 1), ("jobs", 2), ("pods", 2)]
)
async def test_pages_hold_each_object_once_and_are_of_one_size(
    host: str, plural: str, objects: int
) -> None:
    names, sizes = [], []
    async with connected(host) as cluster:
        async for page in cluster.pages(plural, None, whole=True):
            names += [raw["metadata"]["name"] for raw in page["items"]]
            sizes.append(len(json.dumps(page, separators=(",", ":"))))
    assert len(names) == len(set(names)) == objects * RESOURCES
    assert max(sizes) <= 1.1 * PAGE_BYTES
    # The first is a guess, the last one what is left.
    assert min(sizes[1:-1], default=PAGE_BYTES) >= 0.8 * PAGE_BYTES


async def test_bytes_of_lists_are_told_of_page_by_page(host: str) -> None:
    told: list[tuple[str, int]] = []
    async with ApiClient(Configuration(host=host)) as client:
        cluster = Cluster(client, listed=lambda kind, size: told.append((kind, size)))
        pages = [page async for page in cluster.pages("jobs", None, whole=True)]
    assert [kind for kind, _ in told] == ["jobs"] * len(pages)
    sizes = [len(json.dumps(page, separators=(",", ":"))) for page in pages]
    for (_, size), close in zip(told, sizes, strict=True):
        assert size == pytest.approx(close, rel=0.1)  # as another program spaces it


async def test_reader_that_stops_after_a_page_leaves_nothing_behind(host: str) -> None:
    async with connected(host) as cluster:
        pages = cluster.pages("jobs", None, whole=True)
        assert (await anext(pages))["items"]
        await pages.aclose()  # type: ignore[attr-defined]


async def test_nothing_is_written_without_the_lease(server: SettledServer, host: str) -> None:
    def closed() -> None:
        raise LeaseLost("not held")

    manifest = {"metadata": {"namespace": NAMESPACE, "name": "a"}}
    async with connected(host, closed) as cluster:
        # A dry run, as at the start, writes nothing.
        await cluster.try_job(manifest)
        await cluster.check_access(NAMESPACE)
        for write in (cluster.create_job, cluster.create_event):
            with pytest.raises(LeaseLost):
                await write(manifest)
    assert server.requests["POST jobs dry"] == 1
    assert server.requests["POST jobs"] == server.requests["POST events"] == 0


async def test_each_request_is_told_of_with_its_answer(host: str) -> None:
    told: list[tuple[str, str]] = []

    def asked(method: str, code: str, seconds: float) -> None:
        assert seconds > 0
        told.append((method, code))

    async with Client(Configuration(host=host), asked) as client:
        await Cluster(client).check_access(NAMESPACE)
    async with Client(Configuration(host="http://127.0.0.1:1"), asked) as client:
        with pytest.raises(Unreachable):
            await Cluster(client).read("jobs", NAMESPACE, "a")
    assert {code for _, code in told[:-1]} == {"200"}
    assert told[-1] == ("GET", "<error>")


@pytest.mark.parametrize("content", [b"", b"{}\n{}", b"<html>", b"[]", b"\xff"])
def test_answer_that_no_api_server_gives_is_no_answer(content: bytes) -> None:
    with pytest.raises(Unreachable, match=r"^GET /api/v1/pods: the answer is no"):
        parsed(content, "GET /api/v1/pods")
