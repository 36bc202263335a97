"""An operator that is killed or cut off at any write leaves exactly one Job for each stage."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy, Trap, When
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from job_messages import Messages
from light_cluster import MakeNamespace, MakeOperator, MakeResource, Operator, Resource

pytestmark = pytest.mark.faults

Json = dict[str, Any]
RUNS = 25
# Three Jobs, four states and what is told of them: about twenty writes.
WRITES = st.integers(0, 7)
FAULTS = st.lists(
    st.tuples(WRITES, st.sampled_from(When), st.sampled_from(["kill", "cut"])),
    min_size=1,
    max_size=6,
)


class Harassed:
    """An operator to which faults happen, one after the other; it is started again each time."""

    def __init__(self, operator: Operator, proxy: FaultyProxy) -> None:
        self._operator = operator
        self._proxy = proxy
        self._faults: Iterator[tuple[int, When, str]] = iter(())
        self.happened: Counter[str] = Counter()

    def suffer(self, faults: list[tuple[int, When, str]]) -> None:
        self._faults = iter(faults)
        self._next()

    def _next(self) -> None:
        fault = next(self._faults, None)
        if fault is None:
            self._proxy.heal()
            return
        writes, when, what = fault

        def spring() -> bool:
            self.happened[f"{what} {when.value}"] += 1
            if what == "kill":
                self._operator.kill()
            else:
                self._proxy.cut()
                self._next()
            return False

        self._proxy.at_write(Trap(writes, when, spring))

    def look(self) -> None:
        """Start the operator again where it was killed; the next fault waits for it."""
        if not self._operator.running:
            self._operator.start()
            self._next()

    def relieve(self) -> None:
        """Let no more faults happen; one may be under way."""
        self._faults = iter(())
        self._proxy.heal()


@pytest.fixture(scope="module")
def namespace(make_namespace: MakeNamespace) -> str:
    return make_namespace()


@pytest.fixture(scope="module")
def harassed(
    make_operator: MakeOperator, proxy: FaultyProxy, proxied: Path, namespace: str
) -> Iterator[Harassed]:
    operator = make_operator(kubeconfig=proxied, watchNamespaces=[namespace])
    operator.start()
    yield Harassed(operator, proxy)
    assert operator.running
    assert "Traceback (most recent call last)" not in operator.log(), operator.log()


def play(resource: Resource, messages: Messages, harassed: Harassed) -> None:
    """Play the kubelet until the resource is ready."""

    def look() -> bool:
        harassed.look()
        for pod in resource.pods():
            if pod["status"]["phase"] == "Pending":
                target = pod["metadata"]["labels"].get("mopt.dev/target")
                resource.finish(pod, messages.measure(target) if target else messages.prepare())
        return bool(resource.said() == {"Ready": ("True", "Optimized")})

    resource.wait_for(look, 120)


def test_faults_at_writes_leave_one_job_for_each_stage(
    harassed: Harassed,
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    record: Callable[[str, str], None],
) -> None:
    count = itertools.count()
    jobs: Counter[str] = Counter()

    @settings(
        max_examples=RUNS,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(faults=FAULTS)
    def run(faults: list[tuple[int, When, str]]) -> None:
        harassed.suffer(faults)
        resource = make_resource(
            namespace=namespace,
            name=f"run-{next(count)}",
            targets=[{"name": "a"}, {"name": "b"}],
        )
        play(resource, messages, harassed)
        harassed.relieve()

        def recorded() -> bool:
            harassed.look()
            return all("ttlSecondsAfterFinished" in j["spec"] for j in resource.jobs())

        resource.wait_for(recorded)
        labels = [job["metadata"]["labels"] for job in resource.jobs()]
        made = sorted(label.get("mopt.dev/target", "prepare") for label in labels)
        assert made == ["a", "b", "prepare"]
        told = Counter(event["reason"] for event in resource.events())
        assert told["JobCreated"] <= 3
        assert told["Optimized"] <= 1
        jobs.update(made)

    run()
    faults = ", ".join(f"{n} times {what} a write" for what, n in sorted(harassed.happened.items()))
    record(
        f"{next(count)} resources of two targets; {faults}",
        f"Jobs made: {', '.join(f'{n} {name}' for name, n in sorted(jobs.items()))}",
    )
