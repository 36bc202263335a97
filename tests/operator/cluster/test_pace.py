"""Requests to the API server at a pace: none too early, none later than need be."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client import ApiClient, Configuration
from settled_server import SettledServer, served

from mopt_operator.cluster.api import Cluster
from mopt_operator.cluster.election import LeaseLost
from mopt_operator.cluster.pace import Pace, pace_of
from mopt_operator.config.settings import KubeApi


class Time:
    """A clock that only those who sleep move on."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pace(self, qps: float, burst: int) -> Pace:
        return Pace(qps, burst, clock=lambda: self.now, sleep=self.sleep)


async def made(pace: Pace, time: Time, rests: list[float]) -> list[float]:
    """Return when each request is made, with a rest before each."""
    times = []
    for rest in rests:
        time.now += rest
        await pace()
        times.append(time.now)
    return times


@given(
    qps=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    rests=st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_no_span_has_more_than_the_bounds_allow(qps: float, burst: int, rests: list[float]) -> None:
    time = Time()
    times = asyncio.run(made(time.pace(qps, burst), time, rests))
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + qps * (times[last] - times[first]) + 1e-6


async def test_burst_goes_at_once_and_the_rest_in_time() -> None:
    time = Time()
    assert await made(time.pace(2, 3), time, [0.0] * 6) == [0, 0, 0, 0.5, 1.0, 1.5]
    assert await made(time.pace(2, 3), time, [60.0, 0, 0, 0]) == [61.5, 61.5, 61.5, 62.0]


def test_nothing_is_bounded_unless_asked_for() -> None:
    assert pace_of(None) is None
    assert isinstance(pace_of(KubeApi(qps=5)), Pace)


async def test_lease_is_looked_at_after_the_wait() -> None:
    waited = []

    async def pace() -> None:
        waited.append(True)

    def fence() -> None:
        assert waited, "what was allowed before the wait may not be any more"
        raise LeaseLost("not held")

    with served(SettledServer(1)) as port:
        async with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
            cluster = Cluster(client, fence, pace=pace)
            with pytest.raises(LeaseLost):
                await cluster.create_job({"metadata": {"namespace": "a", "name": "b"}})
            pages = [page async for page in cluster.pages("jobs", None, whole=True)]
    assert len(waited) == 1 + len(pages)
