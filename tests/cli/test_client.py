"""The Python client: what it returns, and what it raises. On a real API server: test_cli_client."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import selected
import served_forms
from listing_server import ListingServer, listing
from watch_server import Server, kubeconfig, serving
from watched import NAME, resource

import mopt_cli
from mopt_api.jobs.plan import Credentials
from mopt_api.status import Report
from mopt_cli import (
    Client,
    CliError,
    Forbidden,
    ModelOptimization,
    NoCluster,
    NotFound,
    NothingSelected,
    TimedOut,
)
from mopt_cli._errors import ExitCode
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

MODEL = b"an ONNX file" * 1000


def test_public_names_are_there_and_no_others() -> None:
    for name in mopt_cli.__all__:
        assert getattr(mopt_cli, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Klient'"):
        mopt_cli.Klient  # noqa: B018


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Any]:
    """A resource whose result and whose file lie in a store."""
    output = (tmp_path / "out").as_uri()
    store, prefix = open_store(output, Credentials.OUTPUT, {})
    blobs = Blobs(store, prefix)
    report = Report.under(output, blobs.put_bytes(result_bytes(served_forms.result())))
    digest = blobs.put_bytes(MODEL)
    artifact = selected.artifact(1, digest=digest, uri=blobs.uri(digest), sizeBytes=len(MODEL))
    return selected.resource(selected.target(artifact=artifact, report=report.to_api()))


@pytest.fixture
def server(raw: dict[str, Any]) -> Iterator[ListingServer]:
    with listing(ListingServer([raw, selected.resource(name="new")])) as server:
        yield server


@pytest.fixture
def client(server: ListingServer, tmp_path: Path) -> Client:
    return Client(kubeconfig=server.kubeconfig(tmp_path))


def test_a_resource_has_a_typed_status(client: Client) -> None:
    found = client.get("sr")
    assert (found.name, found.namespace, found.suspended) == ("sr", "team", False)
    assert found.target().name == found.status.targets[0].name == "default"
    assert [each.name for each in client.resources(everywhere=True)] == ["new", "sr"]
    with pytest.raises(NothingSelected, match="new has no result yet: mopt watch new waits"):
        client.get("new").target()


def test_the_result_is_typed_and_verified(client: Client, tmp_path: Path) -> None:
    assert client.result("sr").selected == "form"
    blobs = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    (blob,) = (path for path in blobs if path.read_bytes()[:1] == b"{")
    blob.write_bytes(b"{}")
    with pytest.raises(CliError, match="DigestMismatch: ") as caught:
        client.result("sr")
    assert caught.value.code is ExitCode.FAILED


def test_the_file_is_downloaded_and_verified(client: Client, tmp_path: Path) -> None:
    path = client.download("sr", tmp_path / "models", file="sr.onnx")
    assert path == tmp_path / "models" / "sr.onnx"
    assert path.read_bytes() == MODEL
    name = hashlib.sha256(MODEL).hexdigest()
    (tmp_path / "out" / "blobs" / "sha256" / name).write_bytes(b"x" + MODEL[1:])
    with pytest.raises(CliError, match="DigestMismatch: "):
        client.download("sr", tmp_path / "others")
    assert list((tmp_path / "others").iterdir()) == []


def test_what_goes_wrong_is_typed(client: Client, server: ListingServer, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no ModelOptimization srr in namespace team: did you mean"):
        client.get("srr")
    server.refuses = 403
    with pytest.raises(Forbidden, match="ask for this right"):
        client.get("sr")
    server.refuses = 404
    with pytest.raises(NotFound, match="mopt is not installed there"):
        client.resources()
    with pytest.raises(NoCluster, match="does not answer"):
        Client(context="y", kubeconfig=server.kubeconfig(tmp_path)).get("sr")
    with pytest.raises(NoCluster, match="no kubeconfig at"):
        Client(kubeconfig=tmp_path / "nowhere").get("sr")


async def test_it_can_be_called_where_a_loop_runs(client: Client) -> None:
    """As in a notebook."""
    assert client.get("sr").name == "sr"


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"kind": "Pod"}, "the manifest is not a ModelOptimization"),
        (selected.resource() | {"metadata": {}}, "metadata.name is missing"),
        (selected.resource(), "sr is of namespace team, and the client of other"),
        ("nowhere.yaml", "nowhere.yaml cannot be read"),
    ],
)
def test_what_cannot_be_applied_is_refused_before_anything_is_asked(
    manifest: dict[str, Any] | str, said: str
) -> None:
    with pytest.raises(CliError, match=said):
        Client("other", kubeconfig="nowhere").apply(manifest)


@pytest.mark.parametrize(
    ("raw", "ready", "outcome"),
    [
        (resource(), False, None),
        (resource("True", "Optimized", progress=None), True, ExitCode.DONE),
        (resource("False", "NoVariantPassed", stalled=True), False, ExitCode.NO_WINNER),
        (resource("True", "Optimized", progress=None, generation=2), False, None),
    ],
    ids=["at work", "Ready", "Stalled", "Ready, of an earlier spec"],
)
def test_how_it_came_out(raw: dict[str, Any], ready: bool, outcome: ExitCode | None) -> None:
    found = ModelOptimization(json.loads(json.dumps(raw)))
    assert (found.ready, found.outcome) == (ready, outcome)


async def test_it_waits_until_the_end_and_no_longer_than_asked(tmp_path: Path) -> None:
    server = Server()
    await server.set("modeloptimizations", resource())
    async with serving(server) as url:
        client = Client(kubeconfig=kubeconfig(tmp_path, url))

        async def wait(timeout: float | None) -> ModelOptimization:
            # In a thread: this loop is the server's.
            return await asyncio.to_thread(client.wait, NAME, timeout)

        with pytest.raises(TimedOut, match=r"sr was not done within 0.1 s: .*; it goes on"):
            await wait(0.1)
        waiting = asyncio.create_task(wait(None))
        await server.set("modeloptimizations", resource("True", "Optimized", progress=None))
        async with asyncio.timeout(20):
            assert (await waiting).ready
        # Neither Pods nor logs were asked for: it takes no right to them.
        assert server.since == []
        await server.set("modeloptimizations", resource())
        before = server.lists
        waiting = asyncio.create_task(wait(None))
        async with asyncio.timeout(20):
            while server.lists < before + 2:
                await asyncio.sleep(0.01)
            await server.set("modeloptimizations")
            with pytest.raises(NotFound):
                await waiting
