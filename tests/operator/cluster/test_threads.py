"""A thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mopt_operator.cluster.threads import LoopThread

PATIENCE = 20.0


def test_it_ends_when_asked() -> None:
    inside = threading.Event()

    async def run(stop: asyncio.Event) -> None:
        inside.set()
        await stop.wait()

    thread = LoopThread("t", run)
    thread.start()
    assert inside.wait(PATIENCE)
    assert not thread.ended.done()
    thread.stop()
    thread.ended.result(PATIENCE)
    thread.stop()


def test_asked_before_it_has_begun_it_ends_too() -> None:
    async def run(stop: asyncio.Event) -> None:
        await stop.wait()

    thread = LoopThread("t", run)
    thread.stop()
    thread.start()
    thread.ended.result(PATIENCE)


def test_its_error_is_kept() -> None:
    async def run(_: asyncio.Event) -> None:
        raise ValueError("inside")

    thread = LoopThread("t", run)
    thread.start()
    with pytest.raises(ValueError, match="inside"):
        thread.ended.result(PATIENCE)
