"""Connections that go silent without being closed, and watches that bring nothing any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy, Trap, When
from job_messages import Messages
from light_cluster import MakeOperator, MakeResource, Operator

from mopt_operator.loop.watchdog import DEAF_SECONDS
from mopt_operator.loop.watches import SILENT_SECONDS

pytestmark = pytest.mark.faults

Note = Callable[[str, str], None]
# What the machine may need on top.
PATIENCE = 60.0


@pytest.fixture
def operator(
    make_operator: MakeOperator, proxy: FaultyProxy, proxied: Path, namespace: str
) -> Iterator[Any]:
    running = make_operator(kubeconfig=proxied, watchNamespaces=[namespace])
    running.start()
    yield running
    proxy.heal()
    if running.running:
        running.kill()


def test_silent_connections_are_given_up_and_opened_again(
    operator: Operator,
    proxy: FaultyProxy,
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    record: Note,
) -> None:
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    proxy.silence()
    began = time.monotonic()
    resource.finish(pod, messages.prepare())
    # Before the comparison with the cluster, every 300 s, would find it.
    resource.wait_for(lambda: len(resource.jobs()) == 2, SILENT_SECONDS + PATIENCE)
    record(
        "All connections go silent, none is closed: the next Job is there after",
        f"{time.monotonic() - began:.0f} s",
    )
    resource.finish(resource.pod_of("measure"), messages.measure())
    optimized = {"Ready": ("True", "Optimized")}
    resource.wait_for(lambda: resource.said() == optimized, SILENT_SECONDS + PATIENCE)
    assert operator.running
    assert "Traceback (most recent call last)" not in operator.log(), operator.log()


def test_watches_that_stay_deaf_end_the_process_and_the_next_one_goes_on(
    operator: Operator,
    proxy: FaultyProxy,
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    record: Note,
) -> None:
    def deafen() -> bool:
        proxy.deafen()
        return True

    # From its first write on, the creation of a Job, the operator hears nothing any more.
    proxy.at_write(Trap(0, When.BEFORE, deafen))
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    began = time.monotonic()
    resource.wait_for(lambda: not operator.running, DEAF_SECONDS + PATIENCE)
    record(
        "Watches connect and bring nothing: the process ends itself after",
        f"{time.monotonic() - began:.0f} s",
    )
    assert "has not shown" in operator.log().splitlines()[-1]
    proxy.heal()
    operator.start()
    resource.run(messages)
    assert len(resource.jobs()) == 2
