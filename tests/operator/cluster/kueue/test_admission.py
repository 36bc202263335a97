"""Jobs in Kueue's queues: suspended by its webhook, reported as Queued, started when admitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest
from job_messages import Messages
from light_cluster import Api, MakeOperator, MakeResource, Operator, Resource

pytestmark = pytest.mark.kueue

Json = dict[str, Any]
ROOT = "/apis/kueue.x-k8s.io/v1beta2"
QUEUED = {"Ready": ("Unknown", "Queued"), "Reconciling": ("True", "Preparing")}


def create(api: Api, path: str, kind: str, body: Json) -> None:
    api.call("POST", path, {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind} | body)


@pytest.fixture(scope="session")
def flavor(kueue: None, api: Api) -> str:
    create(api, f"{ROOT}/resourceflavors", "ResourceFlavor", {"metadata": {"name": "any"}})
    return "any"


class Queue:
    """A LocalQueue of a namespace and the ClusterQueue behind it, both of one name."""

    def __init__(self, api: Api, namespace: str, name: str, flavor: str) -> None:
        self._api = api
        self._flavor = flavor
        self._path = f"{ROOT}/clusterqueues/{namespace}-{name}"
        self.name = name
        metadata = {"name": f"{namespace}-{name}"}
        spec = self._spec(0) | {"namespaceSelector": {}}
        create(api, f"{ROOT}/clusterqueues", "ClusterQueue", {"metadata": metadata, "spec": spec})
        local = {"metadata": {"name": name}, "spec": {"clusterQueue": metadata["name"]}}
        create(api, f"{ROOT}/namespaces/{namespace}/localqueues", "LocalQueue", local)

    def _spec(self, jobs: int) -> Json:
        quota = {"cpu": str(jobs), "memory": f"{8 * jobs}Gi"}
        resources = [{"name": name, "nominalQuota": value} for name, value in quota.items()]
        flavors = [{"name": self._flavor, "resources": resources}]
        return {"resourceGroups": [{"coveredResources": list(quota), "flavors": flavors}]}

    def admit(self, jobs: int) -> None:
        """Set a quota that is enough for so many Jobs."""
        self._api.call("PATCH", self._path, {"spec": self._spec(jobs)}, "merge-patch+json")


@pytest.fixture
def make_queue(api: Api, namespace: str, flavor: str) -> Callable[[str], Queue]:
    return lambda name: Queue(api, namespace, name, flavor)


@pytest.fixture(scope="module")
def everywhere(make_operator: MakeOperator, flavor: str) -> Any:
    operator = make_operator()
    operator.start()
    yield operator
    assert operator.running, operator.log()
    assert "Traceback (most recent call last)" not in operator.log(), operator.log()


class Queued(Protocol):
    """Makes resources; its arguments are targets with their queues."""

    def __call__(self, queue: str, **targets: str | None) -> Resource: ...


@pytest.fixture
def queued(everywhere: Operator, namespace: str, make_resource: MakeResource) -> Queued:
    """Return a maker of resources whose Jobs ask for one processor."""
    small = {"limits": {"cpu": 1, "memory": "2Gi"}}

    def make(queue: str, **targets: str | None) -> Resource:
        named = targets or {"default": None}
        return make_resource(
            namespace=namespace,
            execution={"queueName": queue},
            targets=[
                {"name": name, "resources": small} | ({"queueName": own} if own else {})
                for name, own in named.items()
            ],
        )

    return make


def test_job_waits_for_quota_runs_and_hands_its_place_on(
    queued: Queued, make_queue: Callable[[str], Queue], messages: Messages
) -> None:
    team = make_queue("team")
    resource = queued("team")
    resource.wait_said(**QUEUED)
    (job,) = resource.jobs()
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert resource.pods() == []
    team.admit(jobs=1)
    pod = resource.pod_of("prepare")
    resource.wait_said(Ready=("Unknown", "Preparing"), Reconciling=("True", "Preparing"))
    assert "kueue.x-k8s.io/queue-name" not in pod["metadata"]["labels"]
    resource.finish(pod, messages.prepare())
    # There is room for one: Kueue sees that the preparation is over.
    resource.finish(resource.pod_of("measure"), messages.measure())
    resource.wait_said(Ready=("True", "Optimized"))
    assert len(resource.jobs()) == 2


def test_targets_wait_in_their_own_queues(
    queued: Queued, make_queue: Callable[[str], Queue], messages: Messages
) -> None:
    make_queue("team").admit(jobs=2)
    starved = make_queue("starved")
    resource = queued("team", a=None, b="starved")
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.finish(resource.pod_of("measure", "a"), messages.measure("a"))
    resource.wait_said(Ready=("Unknown", "Queued"), Reconciling=("True", "Measuring"))
    assert [t["name"] for t in resource.read()["status"]["targets"]] == ["a"]
    starved.admit(jobs=1)
    resource.finish(resource.pod_of("measure", "b"), messages.measure("b"))
    resource.wait_said(Ready=("True", "Optimized"))
    assert len(resource.jobs()) == 3


def test_evicted_job_is_queued_again_and_runs_later(
    queued: Queued, make_queue: Callable[[str], Queue], messages: Messages, api: Api
) -> None:
    team = make_queue("team")
    team.admit(jobs=1)
    resource = queued("team")
    resource.pod_of("prepare")

    def stop(policy: str) -> None:
        path = f"{ROOT}/clusterqueues/{resource.namespace}-team"
        api.call("PATCH", path, {"spec": {"stopPolicy": policy}}, "merge-patch+json")

    stop("HoldAndDrain")
    resource.wait_said(**QUEUED)
    resource.wait_for(lambda: not resource.pods())
    stop("None")
    resource.run(messages)
    assert len(resource.jobs()) == 2


def test_queue_that_does_not_exist_is_named(queued: Queued) -> None:
    resource = queued("nowhere")
    resource.wait_said(**QUEUED)
    resource.wait_for(lambda: "LocalQueue nowhere doesn't exist" in resource.message())


def test_why_a_job_waits_is_told(queued: Queued, make_queue: Callable[[str], Queue]) -> None:
    make_queue("team")
    resource = queued("team")
    resource.wait_said(**QUEUED)
    resource.wait_for(lambda: "insufficient quota" in resource.message())
