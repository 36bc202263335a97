"""Publishing, on a real API server: what Jobs it takes, and what it never touches."""

from __future__ import annotations

import json
import shlex
from functools import partial
from typing import Any

import pytest
from job_messages import Messages, digest
from light_cluster import Api, Kubectl, MakeOperator, MakeResource, Operator, Resource

from mopt_api.reasons import REASONS, Reason

pytestmark = pytest.mark.cluster

OCI = {"repository": "registry.test/team/sr", "credentialsSecretRef": {"name": "push"}}
PUBLISH = {"oci": OCI}
INDEX = f"{OCI['repository']}@{digest('index')}"


def stages(resource: Resource) -> list[str]:
    return sorted(job["metadata"]["labels"]["mopt.dev/stage"] for job in resource.jobs())


def only_one_publishes(resource: Resource) -> bool:
    return stages(resource) == ["measure", "prepare", "publish"]


def told(resource: Resource, reason: str) -> list[tuple[str, str]]:
    """Return type and message of the Events with a reason."""
    found = (event for event in resource.events() if event["reason"] == reason)
    return [(event["type"], event["message"]) for event in found]


def targets(resource: Resource) -> Any:
    return resource.read()["status"]["targets"]


def test_what_is_selected_is_published_once(
    operator: Operator, make_resource: MakeResource, messages: Messages, kubectl: Kubectl
) -> None:
    resource = make_resource(publish=PUBLISH)
    resource.wait_published("False", "NothingSelected")
    resource.run(messages)
    resource.wait_published("False", "Publishing")
    # The namespace enforces restricted Pods.
    pod = resource.pod_of("publish")
    (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "registry")
    login, certificates = volume["projected"]["sources"]
    assert login["secret"]["name"] == certificates["secret"]["name"] == "push"
    assert (login["secret"]["optional"], certificates["secret"]["optional"]) == (False, True)
    assert not [v for v in pod["spec"]["volumes"] if "serviceAccountToken" in json.dumps(v)]
    assert resource.said() == {"Ready": ("True", "Optimized")}
    resource.finish(pod, messages.publish())
    resource.wait_published("True", "Published")
    (target,) = targets(resource)
    assert target["published"]["index"] == INDEX
    assert target["published"]["artifact"] == target["artifact"]["digest"]
    (record,) = resource.read()["status"]["history"]
    assert record["published"] == target["published"]["reference"]
    assert record["uri"] == target["artifact"]["uri"]
    table = kubectl("get", "mopt", "-n", resource.namespace, resource.name).stdout
    assert "Optimized" in table.splitlines()[1]
    kubectl(
        *("wait", "-n", resource.namespace, f"mopt/{resource.name}"),
        *("--for=condition=Published", "--timeout=60s"),
    )
    resource.wait_for(lambda: all("ttlSecondsAfterFinished" in j["spec"] for j in resource.jobs()))
    # Measured again, with the same winner.
    resource.patch({"metadata": {"annotations": {"mopt.dev/requestedAt": "again"}}})
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.finish(resource.pod_of("measure"), messages.measure(result="second"))
    resource.wait_said(Ready=("True", "Optimized"))
    (again,) = targets(resource)
    assert again["report"]["digest"] == digest("second")
    assert again["published"] == target["published"]
    assert resource.published()[:2] == ("True", "Published")
    assert "publish" not in stages(resource)
    assert told(resource, "Published") == [("Normal", f"{INDEX} as latest")]


FAILURES = [
    ("down", Reason.REGISTRY_UNREACHABLE, "registry.test: connection refused"),
    ("denied", Reason.REGISTRY_ACCESS_DENIED, "registry.test answers 401 to a push"),
    ("read-only", Reason.REGISTRY_REFUSED, "registry.test answers 405: it is read-only"),
    ("full", Reason.REGISTRY_REFUSED, "registry.test answers 507: no space is left"),
]


def test_registry_that_fails_is_tried_again_and_nothing_else_changes(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    made = {what: make_resource(name=f"registry-{what}", publish=PUBLISH) for what, *_ in FAILURES}
    before = {}
    for what, reason, text in FAILURES:
        resource = made[what]
        resource.run(messages)
        pod = resource.pod_of("publish")
        before[what] = targets(resource)
        code = REASONS[reason].exit_code
        assert code is not None
        resource.finish(pod, messages.error(reason, text), exit_code=code)
    for what, reason, text in FAILURES:
        resource = made[what]
        resource.wait_published("False", reason)
        assert resource.published()[2] == f"{text}. {REASONS[reason].remedy}"
        assert resource.said() == {"Ready": ("True", "Optimized")}
        assert targets(resource) == before[what]
    for what, reason, text in FAILURES:
        resource = made[what]
        pod = resource.pod_of("publish")
        # The reason stays until an attempt succeeds.
        assert resource.published()[:2] == ("False", reason)
        resource.finish(pod, messages.publish())
        resource.wait_published("True", "Published")
        resource.wait_for(partial(only_one_publishes, resource))
        assert told(resource, reason) == [("Warning", f"{text}. {REASONS[reason].remedy}")]
        assert resource.said() == {"Ready": ("True", "Optimized")}


def test_person_approves_with_the_command_of_the_message(
    operator: Operator, make_resource: MakeResource, messages: Messages, kubectl: Kubectl
) -> None:
    resource = make_resource(publish=PUBLISH | {"policy": "Manual"})
    resource.run(messages)
    resource.wait_published("False", "AwaitingApproval")
    assert stages(resource) == ["measure", "prepare"]
    _, found, command = resource.published()[2].partition("kubectl ")
    assert found
    kubectl(*shlex.split(command))
    resource.finish(resource.pod_of("publish"), messages.publish())
    resource.wait_published("True", "Published")
    assert resource.read()["metadata"]["generation"] == 1


def test_restart_with_everything_published_writes_nothing(
    make_operator: MakeOperator, namespace: str, make_resource: MakeResource, messages: Messages
) -> None:
    own = make_operator(watchNamespaces=[namespace])
    own.start()
    resource, failing = (
        make_resource(namespace=namespace, name=name, publish=PUBLISH) for name in ("sr", "key")
    )
    for each in (resource, failing):
        each.run(messages)
    resource.finish(resource.pod_of("publish"), messages.publish())
    error = messages.error(Reason.INVALID_SIGNING_KEY, "no key")
    failing.finish(failing.pod_of("publish"), error, exit_code=76)
    resource.wait_published("True", "Published")
    failing.wait_published("False", "InvalidSigningKey")
    resource.wait_for(lambda: all("ttlSecondsAfterFinished" in j["spec"] for j in resource.jobs()))
    own.kill()

    def seen() -> list[tuple[str, str]]:
        return [
            (raw["metadata"]["name"], raw["metadata"]["resourceVersion"])
            for each in (resource, failing)
            for raw in (each.read(), *each.jobs())
        ]

    before = seen()
    own.start()
    third = make_resource(namespace=namespace, name="third")
    third.run(messages)
    assert seen() == before


def test_crd_takes_what_it_should(api: Api, make_resource: MakeResource, namespace: str) -> None:
    """The API server completes spec.publish, and refuses what names no registry."""
    resource = make_resource(namespace=namespace, publish={"oci": {"repository": "r.test/a"}})
    assert resource.read()["spec"]["publish"] == {
        "oci": {
            "repository": "r.test/a",
            "layout": "ModelRepository",
            "tags": ["latest"],
            "insecure": False,
        },
        "policy": "Auto",
    }
