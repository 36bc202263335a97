"""The operator's process is killed at every write of a life, on either side of it.

Before: the request never reaches the API server. After: it is done, and nobody hears the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy, Trap, When
from hasty_operator import DURATION_SECONDS
from job_messages import Messages
from light_cluster import MakeOperator, MakeResource, Operator, Resource
from whole_life import end_state, jobs_made, live, told

Note = Callable[[str, str], None]

TARGETS = [{"name": "a"}, {"name": "b"}]
# Of the writes, in the form that is part of `make test`.
SOME = 4
HASTY = Path(__file__).resolve().parents[3] / "support" / "hasty_operator.py"


class Lives:
    """Lives of resources of two targets, one after the other, and how a calm one ends."""

    def __init__(
        self, proxy: FaultyProxy, namespace: str, make: MakeResource, messages: Messages
    ) -> None:
        self._proxy = proxy
        self._namespace = namespace
        self._make = make
        self._messages = messages
        self._names = (f"life-{number}" for number in itertools.count())
        before = len(proxy.writes)
        resource = self.one()
        self.calm, self.jobs = end_state(resource), jobs_made(resource)
        self.writes = len(proxy.writes) - before
        # Each Job, its ttl, and the first and the last status.
        self.fewest = 2 * len(self.jobs) + 2

    def one(self, meanwhile: Callable[[], object] = lambda: None) -> Resource:
        resource = self._make(namespace=self._namespace, name=next(self._names), targets=TARGETS)
        live(resource, self._messages, meanwhile)
        return resource

    def killed_at(
        self, write: int, when: When, kill: Callable[[], None], meanwhile: Callable[[], object]
    ) -> Resource | None:
        """Live once with a process that is killed on the way; expect the end of a calm life.

        Returns:
            None where the life had no such write: what comes at once is written at once.
        """
        at = []

        def spring() -> bool:
            at.append(self._proxy.writes[-1])
            kill()
            return False

        trap = Trap(write, when, spring)
        self._proxy.at_write(trap)
        resource = self.one(meanwhile)
        if trap.writes >= 0:
            self._proxy.heal()
            return None
        # After the last write the life is over before its answer comes by.
        resource.wait_for(lambda: at)
        where = f"killed {when.value} write {write}, {at}"
        assert end_state(resource) == self.calm, where
        assert jobs_made(resource) == self.jobs, where
        events = told(resource)
        assert events["JobCreated"] <= len(self.jobs), where
        assert events["Optimized"] <= 1, where
        return resource


@pytest.fixture
def alone(
    make_operator: MakeOperator, proxied: Path, proxy: FaultyProxy, namespace: str
) -> Iterator[Any]:
    operator = make_operator(kubeconfig=proxied, watchNamespaces=[namespace])
    operator.start()
    yield operator
    proxy.heal()
    if operator.running:
        operator.kill()
    assert "Traceback (most recent call last)" not in operator.log(), operator.log()


@pytest.fixture
def lives(proxy: FaultyProxy, make_resource: MakeResource) -> Callable[[str, Messages], Lives]:
    return lambda namespace, messages: Lives(proxy, namespace, make_resource, messages)


def leads(operator: Operator) -> bool:
    return operator.metric("mopt_leader") == 1


def kill_and_restart(
    lives: Lives, operator: Operator, writes: Iterable[int], when: When
) -> list[int]:
    """Return the writes that it was killed at: until a life had no such write."""

    def meanwhile() -> None:
        if not operator.running:
            operator.start()

    return list(
        itertools.takewhile(
            lambda write: lives.killed_at(write, when, operator.kill, meanwhile), writes
        )
    )


@pytest.mark.cluster
def test_killed_at_some_writes_the_next_process_comes_to_the_same_end(
    alone: Operator, lives: Callable[..., Lives], namespace: str, messages: Messages
) -> None:
    lived = lives(namespace, messages)
    step = lived.writes // SOME
    assert kill_and_restart(lived, alone, range(0, lived.writes, 2 * step), When.BEFORE)
    assert kill_and_restart(lived, alone, range(step, lived.writes, 2 * step), When.AFTER)


@pytest.mark.faults
@pytest.mark.parametrize("when", list(When), ids=[when.value for when in When])
def test_killed_at_every_write_the_next_process_comes_to_the_same_end(
    alone: Operator,
    lives: Callable[..., Lives],
    namespace: str,
    messages: Messages,
    when: When,
    record: Note,
) -> None:
    lived = lives(namespace, messages)
    killed = len(kill_and_restart(lived, alone, itertools.count(), when))
    assert killed >= lived.fewest
    record(
        f"Two targets: {killed} writes; the operator killed right {when.value} each of them, "
        "and started again",
        f"{killed} of {killed} come to the same end, a Job per stage and target",
    )


@pytest.fixture
def pair(
    make_operator: MakeOperator, proxied: Path, proxy: FaultyProxy, namespace: str
) -> Iterator[list[Any]]:
    """Start two operators whose Lease runs out soon; the first one leads."""
    config: dict[str, Any] = {
        "watchNamespaces": [namespace],
        "leaderElection": {"namespace": namespace, "name": "mopt-operator"},
    }
    both = [make_operator(kubeconfig=proxied, **config) for _ in range(2)]
    for operator in both:
        operator.command = [operator.command[0], str(HASTY)]
        operator.start()
    yield both
    proxy.heal()
    for operator in both:
        if operator.running:
            operator.kill()
        assert "Traceback (most recent call last)" not in operator.log(), operator.log()


@pytest.mark.faults
@pytest.mark.parametrize("when", list(When), ids=[when.value for when in When])
def test_leader_killed_at_every_write_the_standby_comes_to_the_same_end(
    pair: list[Operator],
    lives: Callable[..., Lives],
    namespace: str,
    messages: Messages,
    when: When,
    record: Note,
) -> None:
    lived = lives(namespace, messages)
    for write in itertools.count():
        leader, standby = pair
        assert leads(leader)
        # Nobody starts it again: what follows is the standby's work.
        resource = lived.killed_at(write, when, leader.kill, lambda: None)
        if resource is None:
            break
        # After the last write there is none.
        resource.wait_for(partial(leads, standby))
        leader.start()
        pair.reverse()
    assert write >= lived.fewest
    record(
        f"The same with two replicas, a Lease of {DURATION_SECONDS} s, the leader killed right "
        f"{when.value} each write",
        f"{write} of {write}; the standby takes over",
    )
