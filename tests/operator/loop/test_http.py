"""The HTTP port: alive, ready, metrics."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import aiohttp
import pytest
from free_ports import free_address
from operator_clock import Clock

from mopt_operator.errors import OperatorError
from mopt_operator.loop import http
from mopt_operator.loop.http import Heartbeat, application, serve
from mopt_operator.loop.readiness import Readiness
from mopt_operator.loop.watches import RESOURCES

WATCHES = [f"watcher for {kind}@None" for kind in RESOURCES]


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def two_lines() -> bytes:
    return b"mopt_leader 1.0\n"


async def test_pages() -> None:
    missing = ["not watched: pods.v1", "the lease has not been read"]
    address = free_address()
    async with serve(address, application(lambda: missing, two_lines, Heartbeat())):
        assert await get(f"http://{address}/healthz") == (200, "ok\n")
        assert await get(f"http://{address}/readyz") == (503, "\n".join(missing) + "\n")
        missing.clear()
        assert await get(f"http://{address}/readyz") == (200, "ok\n")
        assert await get(f"http://{address}/metrics") == (200, "mopt_leader 1.0\n")


async def test_impossible_port_is_told() -> None:
    with pytest.raises(OperatorError, match=r"cannot listen on .*:99999"):
        async with serve("127.0.0.1:99999", application(list, two_lines, Heartbeat())):
            pass


async def test_taken_port_is_told() -> None:
    address = free_address()
    pages = application(list, two_lines, Heartbeat())
    async with serve(address, pages):
        with pytest.raises(OperatorError, match=f"cannot listen on {address}"):
            async with serve(address, application(list, two_lines, Heartbeat())):
                pass


def blocking_get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_busy_event_loop_is_alive_until_it_has_stood_still_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.1)
    clock, address = Clock(), free_address()
    heartbeat = Heartbeat(clock)
    beating = asyncio.create_task(heartbeat.beat())
    async with serve(address, application(list, two_lines, heartbeat)):
        # Blocking calls: the event loop under test stands still while they are made.
        assert blocking_get(f"http://{address}/healthz") == (200, "ok\n")
        clock.seconds += http.STALLED_SECONDS
        assert blocking_get(f"http://{address}/healthz") == (200, "ok\n")
        status, text = blocking_get(f"http://{address}/readyz")
        assert (status, text) == (503, "the event loop has been busy for 60 s\n")
        clock.seconds += 1
        status, text = blocking_get(f"http://{address}/healthz")
        assert (status, text) == (503, "the event loop has stood still for 61 s\n")
    beating.cancel()


async def test_late_beats_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BEAT_SECONDS", 0.0)
    clock, late = Clock(), list[float]()
    beating = asyncio.create_task(Heartbeat(clock, late.append).beat())
    await asyncio.sleep(0)
    clock.seconds += 3.0
    while not late:
        await asyncio.sleep(0)
    beating.cancel()
    assert late[0] == 3.0


def ready(*, filled: bool = True, watching: bool = True) -> Readiness:
    readiness = Readiness()
    for event, is_set in ((readiness.filled, filled), (readiness.watching, watching)):
        if is_set:
            event.set()
    return readiness


@pytest.mark.parametrize(
    ("names", "state", "known", "lines"),
    [
        (WATCHES, {}, True, []),
        ([], {"filled": False}, True, ["the resources, Jobs and Pods have not been listed"]),
        ([], {"watching": False}, True, ["the watches have not been started"]),
        (WATCHES[:2], {}, True, ["not watched: pods.v1"]),
        (WATCHES, {}, False, ["the lease has not been read"]),
    ],
)
def test_readiness(names: list[str], state: dict[str, bool], known: bool, lines: list[str]) -> None:
    assert ready(**state).lacking(names, lease_known=known, leads=False, unseen=7) == lines


def test_who_leads_from_its_start_is_ready_after_a_look_at_everything() -> None:
    readiness = ready()

    def lacking(unseen: int) -> list[str]:
        return readiness.lacking(WATCHES, lease_known=True, leads=True, unseen=unseen)

    assert lacking(7) == ["7 resources have not been looked at since the start"]
    assert lacking(0) == []


def test_standby_that_takes_over_stays_ready() -> None:
    readiness = ready()
    for leads in (False, True):
        assert not readiness.lacking(WATCHES, lease_known=True, leads=leads, unseen=7)
