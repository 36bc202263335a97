"""The API server and etcd go and come back, answer slowly, or one replica hears them no longer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from aiohttp import web
from faulty_proxy import FaultyProxy
from http_proxy import Call, HttpProxy
from job_messages import Messages
from light_cluster import Api, MakeOperator, MakeResource, Operator, Resource, by_way_of
from light_processes import Component
from whole_life import PATIENCE, jobs_made, live, told

from mopt_operator.cluster.election import DEADLINE_SECONDS, DURATION_SECONDS

pytestmark = pytest.mark.faults

Note = Callable[[str, str], None]
# Shorter than a leader may go without renewing, and longer.
SHORT, LONG = DEADLINE_SECONDS / 2, 2 * DEADLINE_SECONDS
SLOW_SECONDS = 10.0
SKEWED = Path(__file__).resolve().parents[3] / "support" / "skewed_operator.py"
MARGIN = timedelta(seconds=5)


@pytest.fixture
def election(namespace: str) -> dict[str, str]:
    return {"namespace": namespace, "name": "mopt-operator"}


@pytest.fixture
def leader(make_operator: MakeOperator, namespace: str, election: dict[str, str]) -> Iterator[Any]:
    """Return an operator that leads, alone."""
    running = make_operator(watchNamespaces=[namespace], leaderElection=election)
    running.start()
    yield running
    assert "Traceback (most recent call last)" not in running.log(), running.log()


def one_life(resource: Resource) -> None:
    assert jobs_made(resource) == ["default", "prepare"]
    events = told(resource)
    assert events["JobCreated"] <= 2
    assert events["Optimized"] <= 1


def until_ready(api: Api) -> None:
    """Wait for an API server that is on its way back, etcd included."""
    deadline = time.monotonic() + PATIENCE
    server = api.config["clusters"][0]["cluster"]["server"]
    with urllib3.PoolManager(ssl_context=api.context, retries=False, timeout=5) as pool:
        while time.monotonic() < deadline:
            try:
                if pool.request("GET", f"{server}/readyz").status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.2)
    raise AssertionError("the API server does not come back")


@pytest.mark.parametrize("fault", ["killed", "halted"])
@pytest.mark.parametrize("name", ["kube-apiserver", "etcd"])
def test_control_plane_that_comes_back_finds_the_operator_at_work(
    name: str,
    fault: str,
    cluster: Path,
    api: Api,
    leader: Operator,
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    record: Note,
) -> None:
    component = Component(cluster.parent, name)
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    if fault == "killed":
        component.kill()
        time.sleep(SHORT)
        component.start()
    else:
        component.halt()
        time.sleep(LONG)
        component.go_on()
    began = time.monotonic()
    until_ready(api)
    answered = time.monotonic()
    resource.finish(pod, messages.prepare())
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        if not leader.running:
            restarts += 1
            leader.start()

    live(resource, messages, restart)
    one_life(resource)
    assert restarts <= 1
    # Without its Lease it may not go on; where it could be renewed it has no reason to end.
    assert restarts == 0 or "could not be renewed" in leader.log()
    record(
        f"{name} {fault} for {SHORT if fault == 'killed' else LONG:.0f} s",
        f"answers again {answered - began:.0f} s later; Ready {time.monotonic() - answered:.0f} s "
        f"after that; the leader {'was started again' if restarts else 'stayed'}",
    )


def test_slow_api_server_costs_time_alone(
    api: Api,
    make_operator: MakeOperator,
    operator_kubeconfig: Path,
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    tmp_path: Path,
    record: Note,
) -> None:
    """Without an election: a leader gives up a Lease that takes so long to renew."""
    slow = HttpProxy(api.config["clusters"][0]["cluster"]["server"], api.context)
    kubeconfig = by_way_of(slow.url, operator_kubeconfig, tmp_path)
    operator = make_operator(kubeconfig=kubeconfig, watchNamespaces=[namespace])
    operator.start()

    async def slowly(call: Call) -> web.StreamResponse:
        await asyncio.sleep(SLOW_SECONDS)
        return await call.forward()

    try:
        slow.play(slowly)
        resource = make_resource(namespace=namespace)
        began = time.monotonic()
        live(resource, messages, seconds=3 * PATIENCE)
        record(
            f"Each answer of the API server takes {SLOW_SECONDS:.0f} s: Ready after",
            f"{time.monotonic() - began:.0f} s",
        )
        one_life(resource)
        assert operator.running
        assert "Traceback (most recent call last)" not in operator.log(), operator.log()
    finally:
        operator.kill()
        slow.close()


@pytest.mark.parametrize("one_way", [False, True], ids=["both ways", "no answers"])
def test_leader_that_is_cut_off_ends_before_the_standby_begins(
    one_way: bool,
    make_operator: MakeOperator,
    proxy: FaultyProxy,
    proxied: Path,
    namespace: str,
    election: dict[str, str],
    make_resource: MakeResource,
    messages: Messages,
    record: Note,
) -> None:
    config: dict[str, Any] = {"watchNamespaces": [namespace], "leaderElection": election}
    leader, standby = make_operator(kubeconfig=proxied, **config), make_operator(**config)
    leader.start()
    standby.start()
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    proxy.part(one_way=one_way)
    began = time.monotonic()
    try:
        # Work for both of them, if both believed to lead.
        resource.finish(pod, messages.prepare())
        resource.wait_for(lambda: not leader.running or standby.metric("mopt_leader") == 1)
        assert not leader.running, "two lead"
        ended = time.monotonic()
        assert "could not be renewed" in leader.log().splitlines()[-1]
        resource.wait_for(lambda: standby.metric("mopt_leader") == 1)
        led = time.monotonic()
        live(resource, messages)
        one_life(resource)
    finally:
        proxy.heal()
        proxy.cut()
        standby.kill()
    record(
        f"Leader cut off ({'it gets no answers' if one_way else 'both ways'}): it has ended, and "
        "the standby leads, after",
        f"{ended - began:.0f} s, {led - began:.0f} s",
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("skew", [-60, 60])
def test_clock_of_the_leader_that_is_a_minute_off_changes_nothing(
    skew: int,
    make_operator: MakeOperator,
    namespace: str,
    election: dict[str, str],
    make_resource: MakeResource,
    messages: Messages,
    record: Note,
) -> None:
    config: dict[str, Any] = {"watchNamespaces": [namespace], "leaderElection": election}
    skewed, standby = (make_operator(**config) for _ in range(2))
    skewed.command = [skewed.command[0], str(SKEWED), str(skew)]
    skewed.start()
    standby.start()
    began = time.monotonic()
    try:
        first = make_resource(namespace=namespace)
        live(first, messages)
        # The Lease says that it was renewed a minute ago, or will be: nobody takes it for that.
        time.sleep(max(0.0, began + DURATION_SECONDS + 2 - time.monotonic()))
        assert standby.metric("mopt_leader") == 0
        told_skew = re.search(r"the API server's, whose time counts: ([+-]\d+) s", skewed.log())
        assert told_skew is not None
        assert abs(int(told_skew[1]) - skew) <= 2  # The server tells whole seconds.
        status, created = first.read()["status"], first.read()["metadata"]["creationTimestamp"]
        for condition in status["conditions"]:
            since = _time(condition["lastTransitionTime"]) - _time(created)
            assert -MARGIN < since < MARGIN + timedelta(seconds=time.monotonic() - began)
        second = make_resource(namespace=namespace, name="second")
        second.pod_of("prepare")
        skewed.kill()
        live(second, messages)
        one_life(first)
        one_life(second)
    finally:
        standby.kill()
    record(f"The leader's clock is {skew:+d} s off", "it leads on; one Job per stage")
