"""The HTTP port: alive, ready, metrics."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from mopt_operator.errors import OperatorError
from mopt_operator.loop.http import application, serve
from mopt_operator.loop.watches import RESOURCES
from mopt_operator.main import not_ready

WATCHES = [f"watcher for {kind}@None" for kind in RESOURCES]


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_pages() -> None:
    missing = ["not watched: pods.v1", "the lease has not been read"]
    address = free_address()
    async with serve(address, application(lambda: missing, lambda: b"mopt_leader 1.0\n")):
        assert await get(f"http://{address}/healthz") == (200, "ok\n")
        assert await get(f"http://{address}/readyz") == (503, "\n".join(missing) + "\n")
        missing.clear()
        assert await get(f"http://{address}/readyz") == (200, "ok\n")
        assert await get(f"http://{address}/metrics") == (200, "mopt_leader 1.0\n")


async def test_taken_port_is_told() -> None:
    address = free_address()
    pages = application(list, bytes)
    async with serve(address, pages):
        with pytest.raises(OperatorError, match=f"cannot listen on {address}"):
            async with serve(address, application(list, bytes)):
                pass


READY = {"filled": True, "watching": True, "lease_known": True}


@pytest.mark.parametrize(
    ("names", "lacking", "lines"),
    [
        (WATCHES, {}, []),
        ([], {"filled": False}, ["the resources, Jobs and Pods have not been listed"]),
        ([], {"watching": False}, ["the watches have not been started"]),
        (WATCHES[:2], {}, ["not watched: pods.v1"]),
        (WATCHES, {"lease_known": False}, ["the lease has not been read"]),
    ],
)
def test_readiness(names: list[str], lacking: dict[str, bool], lines: list[str]) -> None:
    assert not_ready(names, (), **(READY | lacking)) == lines
