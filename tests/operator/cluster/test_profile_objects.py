"""OptimizationProfiles on a real API server: the operator follows them without a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from job_messages import Messages
from light_cluster import Api, Kubectl, MakeNamespace, MakeOperator, MakeResource, Operator, Refused

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
PATH = "/apis/mopt.dev/v1alpha1/optimizationprofiles"
HOME = "profiles"
PATIENCE = 60.0
# Tests leave measurements unfinished, which are not to hold up those of the next ones.
PLENTY = {"measurementSlots": 1000}


class Profiles:
    """The cluster's profiles, as the administrator."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.made: set[str] = set()

    def create(self, name: str, **spec: object) -> None:
        self.made.add(name)
        kind = {"apiVersion": "mopt.dev/v1alpha1", "kind": "OptimizationProfile"}
        self._api.call("POST", PATH, kind | {"metadata": {"name": name}, "spec": PLENTY | spec})

    def edit(self, name: str, **spec: object) -> None:
        self._api.call("PATCH", f"{PATH}/{name}", {"spec": spec}, "merge-patch+json")

    def delete(self, name: str) -> None:
        self.made.discard(name)
        self._api.call("DELETE", f"{PATH}/{name}")

    def read(self, name: str) -> Json:
        return self._api.call("GET", f"{PATH}/{name}")

    def names(self) -> set[str]:
        return {item["metadata"]["name"] for item in self._api.call("GET", PATH)["items"]}

    def valid(self, name: str) -> tuple[str, str, str]:
        """Wait until the operator has judged a profile as it is; return what Valid says."""

        def judged() -> Json | None:
            profile = self.read(name)
            now = profile["metadata"]["generation"] == profile["status"]["observedGeneration"]
            return dict(profile["status"]) if now else None

        status = until(judged)
        (said,) = status["conditions"]
        return said["status"], said["reason"], said["message"]


def until(look: Callable[[], Any]) -> Any:
    """Return the first true answer of a look."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE} s in vain")


@pytest.fixture
def profiles(api: Api) -> Iterator[Profiles]:
    found = Profiles(api)
    yield found
    for name in tuple(found.made):
        found.delete(name)


@pytest.fixture(scope="module")
def home(make_namespace: MakeNamespace) -> str:
    return make_namespace(HOME)


@pytest.fixture(scope="module")
def following(make_operator: MakeOperator, home: str) -> Iterator[Operator]:
    """Run one operator for all tests here: whatever they change, it is the same process."""
    operator = make_operator(
        watchNamespaces=[home], profileObjects=True, profiles={"default": PLENTY}
    )
    operator.start()
    yield operator
    assert operator.running, operator.log()
    assert "Traceback (most recent call last)" not in operator.log(), operator.log()
    assert operator.log().count("starts with the optimizer image") == 1
    assert operator.stop() == 0


@pytest.mark.usefixtures("following")
def test_default_is_an_object_of_the_operator_s(profiles: Profiles, kubectl: Kubectl) -> None:
    assert profiles.valid("default")[:2] == ("True", "JobsAccepted")
    profile = profiles.read("default")
    assert profile["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "mopt",
        "mopt.dev/operator": "mopt",
    }
    assert profile["spec"]["measurementSlots"] == 1000
    header, row = kubectl("get", "mprof", "default").stdout.splitlines()
    assert header.split() == ["NAME", "VALID", "KIND", "NODES", "SLOTS", "PRICE", "STATUS", "AGE"]
    assert row.split()[:4] == ["default", "True", "CPU", "0"]


@pytest.mark.usefixtures("following")
def test_resource_goes_on_once_its_profile_is_there(
    profiles: Profiles, make_resource: MakeResource, messages: Messages, home: str
) -> None:
    resource = make_resource(namespace=home, targets=[{"name": "a", "profile": "late"}])
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    assert "a names profile late; available profiles: default" in resource.message()
    profiles.create("late", nodeSelector={"pool": "late"})
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    pod = resource.pod_of("measure", "a")
    assert pod["spec"]["nodeSelector"] == {"pool": "late"}
    assert pod["metadata"]["labels"]["mopt.dev/profile"] == "late"
    # It goes, and comes back: what runs goes on, and counts.
    profiles.delete("late")
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    resource.finish(pod, messages.measure("a"))
    profiles.create("late", nodeSelector={"pool": "late"})
    resource.wait_said(Ready=("True", "Optimized"))
    assert len(resource.jobs()) == 2


@pytest.mark.usefixtures("following")
def test_next_jobs_follow_an_edit(
    profiles: Profiles, make_resource: MakeResource, messages: Messages, home: str
) -> None:
    profiles.create("edited", nodeSelector={"pool": "a"})
    first, second = (
        make_resource(namespace=home, name=name, targets=[{"name": "t", "profile": "edited"}])
        for name in ("before", "after")
    )
    first.finish(first.pod_of("prepare"), messages.prepare())
    assert first.pod_of("measure")["spec"]["nodeSelector"] == {"pool": "a"}
    profiles.edit("edited", nodeSelector={"pool": "b"}, measurementSlots=1)
    assert profiles.valid("edited")[0] == "True"
    second.finish(second.pod_of("prepare"), messages.prepare())

    def moved() -> bool:
        pods = [
            pod for pod in first.pods() if pod["metadata"]["labels"]["mopt.dev/stage"] == "measure"
        ]
        return [pod["spec"]["nodeSelector"] for pod in pods] == [{"pool": "b"}]

    # What runs on a Pod template that is no more is made anew; the other one waits for its turn.
    first.wait_for(moved)
    second.wait_said(Ready=("Unknown", "WaitingForSlot"), Reconciling=("True", "Measuring"))
    profiles.edit("edited", measurementSlots=2)
    assert second.pod_of("measure")["spec"]["nodeSelector"] == {"pool": "b"}


@pytest.mark.usefixtures("following")
@pytest.mark.parametrize(
    ("name", "wrong", "reason", "words"),
    [
        (
            "too-much",
            {"resources": {"requests": {"cpu": 4}, "limits": {"cpu": 2}}},
            "InvalidField",
            "spec: resources.requests.cpu 4 is more than limits.cpu 2",
        ),
        (
            "not-ours",
            {"podLabels": {"job-name": "a"}},
            "InvalidField",
            "spec.podLabels: job-name is not to be set",
        ),
        (
            "no-class",
            {"runtimeClassName": "a..b"},
            "JobsRefused",
            "spec.template.spec.runtimeClassName",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nobody_may_use_it(
    profiles: Profiles,
    make_resource: MakeResource,
    home: str,
    name: str,
    wrong: Json,
    reason: str,
    words: str,
) -> None:
    profiles.create(name, **wrong)
    status, why, message = profiles.valid(name)
    assert (status, why) == ("False", reason), message
    assert words in message
    resource = make_resource(
        namespace=home, name=f"uses-{name}", targets=[{"name": "a", "profile": name}]
    )
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    assert f"profile {name}, which is not valid" in resource.message()
    profiles.edit(name, **dict.fromkeys(wrong))
    assert profiles.valid(name)[:2] == ("True", "JobsAccepted")
    resource.pod_of("prepare")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"maxRunning": 0}, "spec.maxRunning: Invalid value"),
        ({"buildOnly": True}, "need each other"),
        ({"computeCapabilities": ["8.9", "8.9"], "buildOnly": True}, "names one twice"),
        ({"wattsIdle": 3}, "wattsIdle and wattsBusy need each other"),
        ({"wattsIdle": 3, "wattsBusy": 2}, "wattsIdle and wattsBusy need each other"),
        ({"tolerations": [{}]}, "without a key the operator must be Exists"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "Exists takes no value",
        ),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 1}]}, "belongs to the effect"),
        ({"nodeAffinity": [{"key": "a", "operator": "In"}]}, "In and NotIn need values"),
        (
            {"nodeAffinity": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
            "Exists and DoesNotExist take no values",
        ),
        (
            {"nodeAffinity": [{"key": "a", "operator": "Gt", "values": ["b"]}]},
            "Gt and Lt take one whole number",
        ),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "In and NotIn need values",
        ),
        ({"resourceClaims": [{"name": "a"}]}, "a claim takes one of"),
        (
            {
                "resourceClaims": [{"name": "a", "resourceClaimName": "b", "kind": "GPU"}],
                "buildOnly": True,
                "computeCapabilities": ["8.9"],
            },
            "a GPU with buildOnly, which needs none",
        ),
        ({"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}]}, "extraVolumes do not have"),
        ({"extraVolumes": [{"name": "a"}]}, "a volume takes one of configMap and secret"),
        ({"extraVolumes": [{"name": "tmp", "configMap": {"name": "a"}}]}, "that Jobs have"),
        ({"extraVolumes": [{"name": "claim-0", "configMap": {"name": "a"}}]}, "pvc:// places"),
        (
            {
                "extraVolumes": [
                    {
                        "name": "a",
                        "secret": {"secretName": "s", "items": [{"key": "token", "path": "a"}]},
                    }
                ]
            },
            "token is where Kubernetes keeps",
        ),
    ],
)
def test_rules_of_the_definition(profiles: Profiles, spec: Json, words: str) -> None:
    with pytest.raises(Refused, match=words):
        profiles.create("refused", **spec)
    profiles.made.clear()


@pytest.mark.parametrize("name", ["a" * 41, "with.dot"])
def test_name_is_one_that_targets_can_name(profiles: Profiles, name: str) -> None:
    with pytest.raises(Refused, match="must have at most 40 characters and no dot"):
        profiles.create(name)
    profiles.made.clear()


def test_legal_profile_is_taken(profiles: Profiles) -> None:
    profiles.create(
        "full",
        nodeSelector={"a": "b"},
        nodeAffinity=[{"key": "a", "operator": "Gt", "values": ["9"]}],
        tolerations=[{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}],
        resources={"requests": {"cpu": 1}, "limits": {"cpu": "2", "nvidia.com/gpu": 1}},
        wattsIdle=3,
        wattsBusy=12.5,
        pricePerHour="0.052",
        namespaceSelector={"matchLabels": {"team": "a"}},
        resourceClaims=[
            {"name": "gpu", "resourceClaimTemplateName": "l4", "request": "one", "kind": "GPU"},
            {"name": "nic", "resourceClaimName": "shared"},
        ],
        extraVolumes=[{"name": "ca", "configMap": {"name": "ca"}}],
        extraVolumeMounts=[{"name": "ca", "mountPath": "/etc/pool", "readOnly": True}],
    )


@pytest.mark.usefixtures("following")
def test_claimed_devices_reach_the_pod(
    profiles: Profiles, make_resource: MakeResource, home: str, messages: Messages
) -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "l4", "kind": "GPU"}]
    profiles.create("dra", resourceClaims=claims)
    assert profiles.valid("dra")[:2] == ("True", "JobsAccepted")
    assert profiles.read("dra")["status"]["kind"] == "GPU"
    resource = make_resource(
        namespace=home, name="claims", targets=[{"name": "a", "profile": "dra"}]
    )
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    pod = resource.pod_of("measure", "a")["spec"]
    assert pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "l4"}]
    assert pod["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]


def test_profile_is_for_selected_namespaces(
    following: Operator,
    profiles: Profiles,
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    kubectl: Kubectl,
) -> None:
    assert following.running
    inside, outside = make_namespace(), make_namespace()
    kubectl("label", "namespace", inside, "team=a")
    profiles.create("team-a", namespaceSelector={"matchLabels": {"team": "a"}})
    operator = make_operator(
        watchNamespaces=[inside, outside], profileObjects=True, profiles={"default": PLENTY}
    )
    operator.start()
    mine, theirs = (
        make_resource(namespace=namespace, targets=[{"name": "a", "profile": "team-a"}])
        for namespace in (inside, outside)
    )
    mine.pod_of("prepare")
    theirs.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    assert "names profile team-a, which is not for this namespace" in theirs.message()
    profiles.edit("team-a", namespaceSelector=None)
    theirs.pod_of("prepare")
    assert operator.stop() == 0


def test_nodes_are_counted(following: Operator, profiles: Profiles, api: Api) -> None:
    assert following.running
    nodes: list[Json] = [
        {
            "metadata": {"name": name, "labels": {"gpu": gpu}},
            "status": {"allocatable": {"cpu": "8", "memory": "32Gi"}},
        }
        for name, gpu in (("one", "l4"), ("two", "l4"), ("three", "t4"))
    ]
    for node in nodes:
        api.call("POST", "/api/v1/nodes", node)
    try:
        # Nobody reports them ready, so they are tainted.
        anywhere = [{"operator": "Exists"}]
        large = {"requests": {"cpu": "9"}}
        profiles.create("l4", nodeSelector={"gpu": "l4"}, tolerations=anywhere)
        profiles.create("large", tolerations=anywhere, resources=large)
        profiles.create("any", tolerations=anywhere)

        def counted() -> list[int | None]:
            return [profiles.read(n)["status"].get("nodes") for n in ("l4", "large", "any")]

        until(lambda: counted() == [2, 0, 3])
    finally:
        for node in nodes:
            api.call("DELETE", f"/api/v1/nodes/{node['metadata']['name']}")


def test_file_of_profiles_is_followed(
    make_operator: MakeOperator,
    home: str,
    profiles: Profiles,
    following: Operator,
    tmp_path: Path,
) -> None:
    assert following.running
    file = tmp_path / "profiles.json"
    lease = {"namespace": home, "name": "mopt-leader"}
    profiles.create("theirs", maxRunning=7)
    file.write_text(json.dumps({"first": {}, "second": {"image": None}, "theirs": {}}))
    operator = make_operator(
        watchNamespaces=[home],
        profileObjects=True,
        profilesFile=str(file),
        leaderElection=lease,
    )
    operator.start()
    until(lambda: {"first", "second"} <= profiles.names())
    assert (
        profiles.read("first")["metadata"]["labels"]["mopt.dev/operator"] == f"{home}.mopt-leader"
    )
    file.write_text(json.dumps({"first": {"maxRunning": 3, **PLENTY}, "third": {}, "theirs": {}}))
    until(lambda: "third" in profiles.names() and "second" not in profiles.names())
    assert profiles.read("first")["spec"]["maxRunning"] == 3
    assert profiles.read("theirs")["spec"]["maxRunning"] == 7
    assert "default" in profiles.names()
    assert "OptimizationProfile theirs stays as it is" in operator.log()
    assert operator.log().count("starts with the optimizer image") == 1
    assert operator.stop() == 0
    for name in ("first", "third"):
        profiles.delete(name)


def test_jobs_outlive_the_change_from_a_configuration_to_objects(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
    profiles: Profiles,
) -> None:
    namespace = make_namespace()
    gpu = {"resources": {"limits": {"cpu": 2, "memory": "4Gi"}}, "nodeSelector": {"pool": "x"}}
    known = {"default": PLENTY, "moved": PLENTY | gpu}
    before = make_operator(watchNamespaces=[namespace], profiles=known)
    before.start()
    resource = make_resource(namespace=namespace, targets=[{"name": "a", "profile": "moved"}])
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    pod = resource.pod_of("measure", "a")
    jobs = {job["metadata"]["uid"] for job in resource.jobs()}
    assert before.stop() == 0
    after = make_operator(
        watchNamespaces=[namespace],
        profiles=known,
        profileObjects=True,
        leaderElection={"namespace": namespace, "name": "mopt-leader"},
    )
    after.start()
    until(lambda: "moved" in profiles.names())
    profiles.made.add("moved")
    resource.finish(pod, messages.measure("a"))
    resource.wait_said(Ready=("True", "Optimized"))
    assert {job["metadata"]["uid"] for job in resource.jobs()} == jobs
    assert after.stop() == 0


def test_without_objects_the_file_is_followed_too(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    tmp_path: Path,
) -> None:
    namespace, file = make_namespace(), tmp_path / "profiles.json"
    file.write_text(json.dumps({"default": PLENTY}))
    operator = make_operator(watchNamespaces=[namespace], profilesFile=str(file))
    operator.start()
    resource = make_resource(namespace=namespace, targets=[{"name": "a", "profile": "late"}])
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    file.write_text(json.dumps({"default": PLENTY, "late": PLENTY}))
    resource.pod_of("prepare")
    assert operator.log().count("starts with the optimizer image") == 1
    assert operator.stop() == 0


def test_missing_role_and_missing_definition_end_the_start(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    account_kubeconfig: Callable[[str, str], Path],
    api: Api,
) -> None:
    namespace = make_namespace()
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    api.call(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts",
        {"metadata": {"name": "narrow"}},
    )
    binding = {
        "metadata": {"name": "narrow"},
        "roleRef": {
            "kind": "ClusterRole",
            "name": "mopt-operator",
            "apiGroup": "rbac.authorization.k8s.io",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "narrow", "namespace": namespace}],
    }
    api.call("POST", f"{rbac}/namespaces/{namespace}/rolebindings", binding)
    operator = make_operator(
        kubeconfig=account_kubeconfig(namespace, "narrow"),
        watchNamespaces=[namespace],
        profileObjects=True,
    )
    assert operator.run() == 1
    assert "ClusterRole for OptimizationProfiles is missing" in operator.log()
