"""Quotas of a real API server and the administrator's bounds: what waiting resources cost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from job_messages import Messages
from light_cluster import Api, Json, MakeOperator, MakeResource, Resource

pytestmark = pytest.mark.cluster

NUMBER = 30
# While they wait: long enough that requests for each would show.
WAIT_SECONDS = 5.0
SUSPENDED = {"spec": {"execution": {"suspend": True}}}

Counts = Callable[[], Counter[tuple[str, str, int]]]
Reasons = Callable[[], dict[str, str]]


@pytest.fixture
def requests(cluster: Path, namespace: str) -> Counts:
    """Return a counter of the operator's requests in the namespace: verb, kind, answer."""

    def count() -> Counter[tuple[str, str, int]]:
        found: Counter[tuple[str, str, int]] = Counter()
        for line in (cluster.parent / "audit.log").read_text().splitlines():
            entry = json.loads(line)
            reference = entry.get("objectRef") or {}
            ours = "serviceaccount:kube-system:operator" in entry["user"]["username"]
            done = entry["stage"] == "ResponseComplete"
            if ours and done and reference.get("namespace") == namespace:
                code = entry["responseStatus"]["code"]
                found[entry["verb"], reference["resource"], code] += 1
        return found

    return count


def set_quota(api: Api, namespace: str, **hard: str) -> None:
    """Set a quota; it holds once its controller has seen it."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    names = {name.replace("_", "/"): amount for name, amount in hard.items()}
    api.call("POST", path, {"metadata": {"name": "few"}, "spec": {"hard": names}})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if api.call("GET", f"{path}/few").get("status", {}).get("hard") == names:
            return
        time.sleep(0.05)
    raise AssertionError("the quota is not observed")


def make_many(make_resource: MakeResource, namespace: str) -> list[Resource]:
    return [make_resource(namespace=namespace, name=f"r{n:02}") for n in range(NUMBER)]


@pytest.fixture
def reasons(api: Api, namespace: str) -> Callable[[], dict[str, str]]:
    """Return a function that returns the reason of each resource's Ready condition, by name."""

    def read() -> dict[str, str]:
        path = f"/apis/mopt.dev/v1alpha1/namespaces/{namespace}/modeloptimizations"
        return {
            raw["metadata"]["name"]: condition["reason"]
            for raw in api.call("GET", path)["items"]
            for condition in raw.get("status", {}).get("conditions", ())
            if condition["type"] == "Ready"
        }

    return read


def test_quota_on_jobs_is_asked_by_one_for_all(
    make_operator: MakeOperator,
    make_resource: MakeResource,
    namespace: str,
    api: Api,
    requests: Counts,
    reasons: Reasons,
) -> None:
    set_quota(api, namespace, **{"count/jobs.batch": "5"})
    make_operator(watchNamespaces=[namespace]).start()
    resources = make_many(make_resource, namespace)
    last = resources[-1]
    waits = {"Preparing": 5, "PodForbidden": NUMBER - 5}
    last.wait_for(lambda: Counter(reasons().values()) == waits)
    waiting = next(r for r in resources if reasons()[r.name] == "PodForbidden")
    assert "exceeded quota: few" in waiting.message()
    assert "tried again within two minutes" in waiting.message()
    before = requests()
    time.sleep(WAIT_SECONDS)
    during = requests() - before
    # Pauses of 1, 2, 4 s and more, a quarter shorter at most; nothing else.
    assert during.pop(("create", "jobs", 403), 0) <= 4
    assert during.total() <= 4, during
    # A Job that is gone lets another one in.
    said = reasons()
    running = [r for r in resources if said[r.name] == "Preparing"]
    running[0].patch(SUSPENDED)
    waits = {"Preparing": 5, "PodForbidden": NUMBER - 6, "Suspended": 1}
    last.wait_for(lambda: Counter(reasons().values()) == waits)
    # A quota that is lifted lets all in.
    api.call("DELETE", f"/api/v1/namespaces/{namespace}/resourcequotas/few")
    running[1].patch(SUSPENDED)
    waits = {"Preparing": NUMBER - 2, "Suspended": 2}
    last.wait_for(lambda: Counter(reasons().values()) == waits)
    posts = sum(
        n for (verb, kind, _), n in requests().items() if (verb, kind) == ("create", "jobs")
    )
    # Those that were under way at once before the first refusal, one for each pause, and two.
    assert posts <= NUMBER + 16 + 10


def test_events_on_jobs_without_pods_are_listed_for_all_at_once(
    make_operator: MakeOperator,
    make_resource: MakeResource,
    namespace: str,
    api: Api,
    requests: Counts,
    reasons: Reasons,
) -> None:
    set_quota(api, namespace, pods="0")
    make_operator(watchNamespaces=[namespace]).start()
    last = make_many(make_resource, namespace)[-1]
    last.wait_for(lambda: Counter(reasons().values()) == {"PodForbidden": NUMBER})
    assert "exceeded quota: few" in last.message()
    before = requests()
    time.sleep(WAIT_SECONDS)
    assert (requests() - before)["list", "events", 200] <= 2
    # Each would have been a list of its own every few seconds.
    assert requests()["list", "events", 200] <= 10


def test_measurements_take_turns(
    make_operator: MakeOperator,
    make_resource: MakeResource,
    namespace: str,
    messages: Messages,
    reasons: Reasons,
) -> None:
    operator = make_operator(watchNamespaces=[namespace], profiles={"default": {}})
    operator.start()
    resources = [make_resource(namespace=namespace, name=name) for name in "abc"]
    for resource in resources:
        resource.finish(resource.pod_of("prepare"), messages.prepare())
    last = resources[-1]
    waits = {"Measuring": 1, "WaitingForSlot": 2}
    last.wait_for(lambda: Counter(reasons().values()) == waits)
    operator.kill()
    operator.start()
    last.wait_for(lambda: operator.metric('mopt_jobs_waiting{profile="default"}') == 2)

    def has_ended(ends: Counter[str]) -> bool:
        return Counter(reasons().values()) == ends

    for left in (2, 1, 0):
        (measuring,) = [r for r in resources if reasons()[r.name] == "Measuring"]
        measuring.finish(measuring.pod_of("measure"), messages.measure())
        ends = Counter({"Optimized": 3 - left, "Measuring": left > 0, "WaitingForSlot": left - 1})
        last.wait_for(partial(has_ended, +ends))
    assert [len(resource.jobs()) for resource in resources] == [2, 2, 2]


def test_measurement_that_shares_a_node_gives_way(
    make_operator: MakeOperator,
    make_resource: MakeResource,
    namespace: str,
    messages: Messages,
    api: Api,
) -> None:
    def bind(pod: Json) -> None:
        """Do what the scheduler does."""
        name = pod["metadata"]["name"]
        target = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "node-1"}}
        api.call("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", target)

    profiles = {"default": {"measurementSlots": 2}}
    operator = make_operator(watchNamespaces=[namespace], profiles=profiles)
    operator.start()
    first, second = (make_resource(namespace=namespace, name=name) for name in "ab")
    first.finish(first.pod_of("prepare"), messages.prepare())
    first.wait_said(Ready=("Unknown", "Measuring"), Reconciling=("True", "Measuring"))
    looks = 'mopt_reconcile_total{result="done"}'
    before = operator.metric(looks)
    bind(first.pod_of("measure"))
    second.wait_for(lambda: operator.metric(looks) > before)
    second.finish(second.pod_of("prepare"), messages.prepare())
    pod = second.pod_of("measure")
    (wish,) = pod["spec"]["affinity"]["nodeAffinity"].values()
    assert wish[0]["preference"]["matchFields"][0]["values"] == ["node-1"]
    bind(pod)
    second.wait_said(Ready=("Unknown", "WaitingForSlot"), Reconciling=("True", "Measuring"))
    second.wait_for(lambda: "leave node node-1" in second.message())
    assert len(first.jobs()) == 2
    first.finish(first.pod_of("measure"), messages.measure())
    first.wait_said(Ready=("True", "Optimized"))
    second.wait_for(lambda: len(second.jobs()) == 2)
    second.wait_said(Ready=("Unknown", "Measuring"), Reconciling=("True", "Measuring"))
