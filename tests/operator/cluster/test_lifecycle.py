"""Suspend, queue, new selection: on a real API server with the real Job controller."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import Messages
from light_cluster import Api, MakeResource, Operator, Resource

pytestmark = pytest.mark.cluster


def job_path(resource: Resource, job: dict[str, Any]) -> str:
    return f"/apis/batch/v1/namespaces/{resource.namespace}/jobs/{job['metadata']['name']}"


def test_suspend_ends_the_job_and_resume_starts_it_again(
    resource: Resource, messages: Messages
) -> None:
    resource.pod_of("prepare")
    resource.patch({"spec": {"execution": {"suspend": True}}})
    resource.wait_said(Ready=("False", "Suspended"), Stalled=("True", "Suspended"))
    resource.wait_for(lambda: not resource.jobs() and not resource.pods())
    resource.patch({"spec": {"execution": {"suspend": False}}})
    resource.run(messages)
    assert resource.read()["status"]["observedGeneration"] == 3


def test_queued_job_says_so_until_it_is_admitted(
    operator: Operator, make_resource: MakeResource, messages: Messages, api: Api
) -> None:
    resource = make_resource(execution={"queueName": "cpu"})
    (job,) = resource.wait_for(resource.jobs)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "cpu"

    # Kueue's webhook sets it as the Job is created; its controller takes it away.
    def suspend(value: bool) -> None:
        api.call("PATCH", job_path(resource, job), {"spec": {"suspend": value}}, "merge-patch+json")

    suspend(True)
    resource.wait_said(Ready=("Unknown", "Queued"), Reconciling=("True", "Preparing"))
    resource.wait_for(lambda: not resource.pods())
    suspend(False)
    resource.wait_said(Ready=("Unknown", "Preparing"), Reconciling=("True", "Preparing"))
    resource.run(messages)


def test_other_gates_select_anew_without_a_job(resource: Resource, messages: Messages) -> None:
    resource.run(messages)
    names = {job["metadata"]["name"] for job in resource.jobs()}
    resource.patch({"spec": {"quality": [{"metric": "PSNR", "minimum": 39}]}})
    resource.wait_for(lambda: resource.read()["status"]["observedGeneration"] == 2)
    status = resource.read()["status"]
    assert status["summary"]["selected"] == "onnxruntime-int8"
    assert resource.said() == {"Ready": ("True", "Optimized")}
    assert {job["metadata"]["name"] for job in resource.jobs()} <= names
    assert [r["selected"] for r in status["history"]] == ["onnxruntime-int8", "openvino-bf16"]


def test_other_point_selects_anew_by_a_report_job(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    points = [{"name": "one"}, {"name": "four", "dimensions": {"batch": 4}}]
    resource = make_resource(benchmark={"points": points}, objective={"point": "one"})
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.finish(resource.pod_of("measure"), messages.measure(point="one"))
    resource.wait_said(Ready=("True", "Optimized"))
    resource.patch({"spec": {"objective": {"point": "four"}}})
    pod = resource.pod_of("report")
    resource.wait_said(Ready=("Unknown", "Selecting"), Reconciling=("True", "Selecting"))
    resource.finish(pod, messages.measure(point="four", selected="onnxruntime-fp32"))
    resource.wait_said(Ready=("True", "Optimized"))
    (target,) = resource.read()["status"]["targets"]
    assert (target["point"], target["selected"]) == ("four", "onnxruntime-fp32")
