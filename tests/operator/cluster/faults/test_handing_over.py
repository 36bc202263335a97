"""How long nobody works while one operator ends and the other one takes over."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from light_cluster import MakeNamespace, MakeOperator, MakeResource

pytestmark = pytest.mark.faults


def test_time_of_a_hand_over_is_noted(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    record: Callable[[str, str], None],
) -> None:
    namespace = make_namespace()
    election = {"namespace": namespace, "name": "mopt-operator"}
    leader, standby = (
        make_operator(watchNamespaces=[namespace], leaderElection=election) for _ in range(2)
    )
    leader.start()
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    standby.start()
    began = time.monotonic()
    assert leader.stop() == 0
    ended = time.monotonic()
    resource.wait_for(lambda: standby.metric("mopt_leader") == 1)
    taken = time.monotonic()
    make_resource(namespace=namespace, name="other").pod_of("prepare")
    record(
        "SIGTERM to the leader: it has ended, and the standby leads, after",
        f"{ended - began:.1f} s, {taken - began:.1f} s",
    )
