"""A whole operator, kopf included, that starts where many resources are settled.

Its work is counted, not timed: callbacks of the event loop, bytes of the answers, requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVarTuple

import aiohttp
import pytest
from free_ports import free_address
from settled_objects import IMAGE, NAMESPACE, templates
from settled_server import SettledServer, kubeconfig, served

from mopt_operator.cluster.cache import Restored
from mopt_operator.config.settings import LeaderElection, Settings
from mopt_operator.loop.restarts import Restarts
from mopt_operator.main import operate

Arguments = TypeVarTuple("Arguments")

PATIENCE = 60.0
LEASE = LeaderElection(namespace=NAMESPACE)
WATCHES = {"watch modeloptimizations": 1, "watch jobs": 1, "watch pods": 1}


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        self.calls += 1
        return super().call_soon(callback, *args, context=context)


@dataclass
class Scene:
    """A server and an operator's pages."""

    server: SettledServer
    api: str
    pages: str
    session: aiohttp.ClientSession
    running: asyncio.Task[None] | None = None

    async def until_ready(self) -> None:
        async def look() -> bool:
            if self.running and self.running.done():
                self.running.result()
            try:
                async with self.session.get(f"{self.pages}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        async with asyncio.timeout(PATIENCE):
            while not await look():
                await asyncio.sleep(0.2)

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not look():
                await asyncio.sleep(0.05)

    async def tell(self, *asks: str) -> None:
        """Let the server do something; see settled_server."""
        async with self.session.get("/".join((self.api, "bench", *asks))) as answer:
            assert answer.status == 200

    async def create(self, name: str) -> None:
        raw = json.loads(templates()["modeloptimizations"][0].of(0, whole=True))
        body = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": raw["spec"],
            "status": {"observedGeneration": -1},
        }
        url = f"{self.api}/apis/mopt.dev/v1alpha1/namespaces/{NAMESPACE}/modeloptimizations"
        async with self.session.post(url, json=body) as answer:
            assert answer.status == 201


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Scene]]:
    """Return what starts an operator with so many settled resources, and ends it again.

    It returns the callbacks that the event loop ran until the operator was ready and, where
    something follows, until that was done.
    """

    async def start(
        server: SettledServer, then: Callable[[Scene], Any] | None, *, ready: bool
    ) -> tuple[int, Scene]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        address = free_address()
        with served(server) as port:
            (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig(port)))
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
            # The client has read the variable when it was imported.
            monkeypatch.setattr(
                "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
                str(tmp_path / "kubeconfig"),
            )
            settings = Settings(
                optimizer_image=IMAGE,
                health_address=address,
                leader_election=LEASE,
            )
            async with aiohttp.ClientSession() as session:
                scene = Scene(server, f"http://127.0.0.1:{port}", f"http://{address}", session)
                running = scene.running = asyncio.create_task(operate(settings, Restarts(None)))
                if ready:
                    await scene.until_ready()
                if then is not None:
                    await then(scene)
                calls = loop.calls
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return calls, scene

    def both(
        resources: int,
        then: Callable[[Scene], Any] | None = None,
        *,
        ready: bool = True,
        page_seconds: float = 0.0,
        leader: str = "",
    ) -> tuple[int, Scene]:
        server = SettledServer(resources)
        server.page_seconds = page_seconds
        if leader:
            server.give_lease(LEASE.name, leader)
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            return runner.run(start(server, then, ready=ready))

    return both


async def serve_a_new_one(scene: Scene) -> None:
    await scene.create("new")
    await scene.until(lambda: scene.server.requests["PUT modeloptimizations/status"] > 0)


def test_work_of_a_start_grows_with_the_resources_and_not_faster(
    run: Callable[..., tuple[int, Scene]],
) -> None:
    # Until one that comes after the start is served: what watches may still be at the rest.
    few, small = run(200, serve_a_new_one)
    many, large = run(400, serve_a_new_one)
    assert many <= 2.2 * few
    assert large.server.sent <= 2.2 * small.server.sent


def test_start_lists_once_watches_from_there_and_writes_nothing(
    run: Callable[..., tuple[int, Scene]],
) -> None:
    _, scene = run(60, serve_a_new_one)
    requests = scene.server.requests
    # 60 resources in pages of 50, then of what fits; 120 Jobs and 120 Pods.
    assert {k: v for k, v in requests.items() if k.startswith("list")} == {
        "list modeloptimizations": 2,
        "list jobs": 2,
        "list pods": 2,
    }
    assert {k: v for k, v in requests.items() if k.startswith("watch")} == WATCHES
    # The new one's.
    assert requests["POST jobs"] == 1
    assert requests["PUT modeloptimizations/status"] == 1


def test_watch_that_expired_is_opened_after_a_comparison_of_metadata(
    run: Callable[..., tuple[int, Scene]],
) -> None:
    async def expire(scene: Scene) -> None:
        await scene.tell("expire")
        await scene.until(lambda: scene.server.requests["watch pods"] == 2)
        await scene.create("new")
        await scene.until(lambda: scene.server.requests["POST jobs"] > 0)

    _, scene = run(5, expire)
    requests = scene.server.requests
    assert requests["list pods"] == requests["list metadata pods"] == 1


def test_standby_compares_nothing_until_it_leads(
    run: Callable[..., tuple[int, Scene]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mopt_operator.main.COMPARE_SECONDS", 0.0)

    async def lead(scene: Scene) -> None:
        assert scene.server.requests["list pods"] == 1
        assert scene.server.requests["list metadata pods"] == 0
        scene.server.give_lease(LEASE.name, "")
        await scene.until(lambda: scene.server.requests["list metadata pods"] > 0)

    run(5, lead, leader="another")


def test_restored_cluster_ends_the_process_with_a_line(
    run: Callable[..., tuple[int, Scene]],
) -> None:
    async def restore(scene: Scene) -> None:
        await scene.create("new")
        await scene.until(lambda: scene.server.requests["POST jobs"] > 0)
        await scene.tell("restore", "expire")
        assert scene.running
        with pytest.raises(Restored, match="etcd was restored from a backup; starting anew"):
            await asyncio.wait_for(asyncio.shield(scene.running), PATIENCE)

    run(5, restore)


def test_signal_during_the_first_lists_releases_the_lease(
    run: Callable[..., tuple[int, Scene]],
) -> None:
    # Where the operator does not listen, the signal must not end the tests.
    before = signal.signal(signal.SIGTERM, lambda *_: None)

    async def stop(scene: Scene) -> None:
        await scene.until(lambda: scene.server.requests["POST leases"] == 1)
        await scene.until(lambda: scene.server.requests["list modeloptimizations"] == 1)
        assert scene.server.holder()
        os.kill(os.getpid(), signal.SIGTERM)
        assert scene.running
        await asyncio.wait_for(asyncio.shield(scene.running), PATIENCE)
        assert scene.server.holder() == ""

    try:
        _, scene = run(5, stop, ready=False, page_seconds=2.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not scene.server.requests["watch pods"]
