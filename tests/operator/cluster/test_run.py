"""A resource from `apply` to its end, on a real API server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from job_messages import Messages
from light_cluster import Api, MakeNamespace, MakeOperator, MakeResource, Operator, Resource

pytestmark = pytest.mark.cluster


def test_resource_runs_to_ready_by_two_jobs(resource: Resource, messages: Messages) -> None:
    pod = resource.pod_of("prepare")
    resource.wait_said(Ready=("Unknown", "Preparing"), Reconciling=("True", "Preparing"))
    assert pod["spec"].get("serviceAccountName") == "default"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert all("projected" not in volume for volume in pod["spec"]["volumes"])
    resource.run(messages)
    assert [j["metadata"]["labels"]["mopt.dev/stage"] for j in resource.jobs()] == [
        "prepare",
        "measure",
    ]
    status = resource.read()["status"]
    assert status["observedGeneration"] == 1
    assert status["summary"]["selected"] == "openvino-bf16"
    assert status["targets"][0]["variants"][1]["artifact"]["uri"].startswith("s3://optimized/sr/")
    (target,) = status["targets"]
    assert target["artifact"]["uri"] == target["variants"][1]["artifact"]["uri"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions == {"Ready": "True", "ArtifactAvailable": "True"}
    # The record comes first, the time to live second.
    resource.wait_for(
        lambda: all(j["spec"].get("ttlSecondsAfterFinished") == 3600 for j in resource.jobs())
    )
    assert [e["reason"] for e in resource.events()].count("Optimized") == 1
    metadata = resource.read()["metadata"]
    assert "annotations" not in metadata
    assert "finalizers" not in metadata


def test_status_is_written_three_times_and_nothing_is_written_after(
    resource: Resource, messages: Messages, cluster: Path
) -> None:
    resource.run(messages)
    resource.wait_for(lambda: all("ttlSecondsAfterFinished" in j["spec"] for j in resource.jobs()))
    seen: list[tuple[str, str]] = []
    for line in (cluster.parent / "audit.log").read_text().splitlines():
        entry = json.loads(line)
        if "serviceaccount:kube-system:operator" not in entry["user"]["username"]:
            continue
        reference = entry.get("objectRef", {})
        if entry["stage"] == "ResponseComplete" and resource.name[:38] in json.dumps(reference):
            seen.append((entry["verb"], reference["resource"]))
    assert seen.count(("update", "modeloptimizations")) == 3
    assert seen.count(("get", "jobs")) == 0
    assert seen.count(("patch", "jobs")) == 2
    assert not [verb for verb, _ in seen if verb in ("list", "delete")]


def test_same_resource_applied_again_starts_nothing(
    resource: Resource, messages: Messages, api: Api
) -> None:
    resource.run(messages)
    before = resource.read()
    names = [j["metadata"]["name"] for j in resource.jobs()]
    path = api.path(resource.manifest) + "?fieldManager=test&force=true"
    api.call("PATCH", path, resource.manifest, "apply-patch+yaml")
    resource.patch({"metadata": {"labels": {"touched": "yes"}}})
    resource.wait_for(lambda: resource.read()["metadata"]["labels"])
    assert [j["metadata"]["name"] for j in resource.jobs()] == names
    assert resource.read()["status"] == before["status"]


def test_deleted_resource_leaves_no_job_and_no_pod(resource: Resource, messages: Messages) -> None:
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.pod_of("measure")
    resource.delete()
    resource.wait_for(lambda: not resource.jobs() and not resource.pods())


def test_finished_jobs_may_be_deleted_and_nothing_runs_again(
    resource: Resource, messages: Messages, api: Api
) -> None:
    resource.run(messages)
    for job in resource.jobs():
        path = f"/apis/batch/v1/namespaces/{resource.namespace}/jobs/{job['metadata']['name']}"
        api.call("DELETE", f"{path}?propagationPolicy=Background")
    resource.wait_for(lambda: not resource.jobs() and not resource.pods())
    resource.patch({"metadata": {"labels": {"touched": "yes"}}})
    assert resource.said() == {"Ready": ("True", "Optimized")}
    assert resource.jobs() == []


def test_changed_spec_replaces_the_running_job(resource: Resource, messages: Messages) -> None:
    old = resource.pod_of("prepare")["metadata"]["name"]
    resource.patch({"spec": {"model": {"sha256": "b" * 64}}})

    def replaced() -> bool:
        pods = [pod["metadata"]["name"] for pod in resource.pods()]
        return len(pods) == 1 and old not in pods and len(resource.jobs()) == 1

    resource.wait_for(replaced)
    resource.finish(resource.pod_of("prepare"), messages.prepare("b" * 64))
    resource.finish(resource.pod_of("measure"), messages.measure())
    resource.wait_said(Ready=("True", "Optimized"))
    status = resource.read()["status"]
    assert status["observedGeneration"] == 2
    assert status["targets"][0]["baseline"]["artifact"]["digest"] == f"sha256:{'b' * 64}"
    assert len(resource.jobs()) == 2


def test_annotation_runs_again(resource: Resource, messages: Messages) -> None:
    resource.run(messages)
    first = {j["metadata"]["name"] for j in resource.jobs()}
    resource.patch({"metadata": {"annotations": {"mopt.dev/requestedAt": "again"}}})
    resource.wait_for(lambda: resource.read()["status"].get("lastHandledReconcileAt") == "again")
    resource.run(messages)
    second = {j["metadata"]["name"] for j in resource.jobs()}
    assert len(second) == 2
    assert first.isdisjoint(second)


def test_targets_are_measured_side_by_side(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    resource = make_resource(targets=[{"name": "a"}, {"name": "b"}])
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    pods = [resource.pod_of("measure", target) for target in ("a", "b")]
    for target, pod in zip(("a", "b"), pods, strict=True):
        resource.finish(pod, messages.measure(target))
    resource.wait_said(Ready=("True", "Optimized"))
    assert [t["name"] for t in resource.read()["status"]["targets"]] == ["a", "b"]


def test_complete_job_whose_pod_is_gone_runs_again(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
    api: Api,
) -> None:
    namespace = make_namespace()
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    operator.kill()
    resource.finish(pod, messages.prepare())
    resource.wait_for(lambda: resource.jobs()[0]["status"].get("succeeded"))
    api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}")
    operator.start()
    resource.run(messages)
    assert len(resource.jobs()) == 3
