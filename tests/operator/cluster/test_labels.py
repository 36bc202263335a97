"""Labels of the operator's objects that others write: users, policies, admission webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import Messages
from light_cluster import Api, MakeOperator, MakeResource, Resource

pytestmark = pytest.mark.cluster

RECOMMENDED = "app.kubernetes.io/managed-by"


def relabel(api: Api, raw: dict[str, Any], path: str, **labels: str | None) -> None:
    namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
    body = {"metadata": {"labels": {RECOMMENDED: "policy"} | labels}}
    api.call("PATCH", f"{path.format(namespace)}/{name}", body, "merge-patch+json")


JOBS, PODS = "/apis/batch/v1/namespaces/{}/jobs", "/api/v1/namespaces/{}/pods"


def test_recommended_label_that_a_policy_stamps_changes_nothing(
    resource: Resource, messages: Messages, api: Api
) -> None:
    for stage, message in (("prepare", messages.prepare()), ("measure", messages.measure())):
        pod = resource.pod_of(stage)
        relabel(api, pod, PODS)
        relabel(api, resource.jobs()[-1], JOBS)
        resource.finish(pod, message)
    resource.wait_said(Ready=("True", "Optimized"))
    assert len(resource.jobs()) == 2


def test_job_that_lost_the_operator_s_label_is_its_resource_s_problem_alone(
    make_operator: MakeOperator,
    make_resource: MakeResource,
    namespace: str,
    messages: Messages,
    api: Api,
) -> None:
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    (job,) = resource.jobs()
    operator.kill()
    relabel(api, job, JOBS, **{"mopt.dev/uid": None})
    operator.start()
    resource.wait_said(Ready=("False", "PodForbidden"), Reconciling=("True", "Preparing"))
    assert "has lost its label mopt.dev/uid" in resource.message()
    # The watch never shows that Job; it is not awaited, and so the watch not taken for deaf.
    assert operator.metric('mopt_watch_behind_seconds{kind="jobs"}') == 0
    make_resource(namespace=namespace, name="other").run(messages)
    relabel(api, job, JOBS, **{"mopt.dev/uid": job["metadata"]["labels"]["mopt.dev/uid"]})
    resource.run(messages)
    assert operator.running
