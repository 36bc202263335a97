"""What goes wrong, as the cluster really reports it, within the promised 60 seconds."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import Messages
from light_cluster import Api, MakeNamespace, MakeOperator, MakeResource, Operator, Resource

from mopt_api.reasons import EXIT_CODES, REASONS, Reason

pytestmark = pytest.mark.cluster

WAITING = [
    ("CreateContainerConfigError", 'secret "store" not found', "SecretNotFound"),
    ("ErrImagePull", "manifest unknown", "ImagePullFailed"),
    ("ImagePullBackOff", "Back-off pulling image", "ImagePullFailed"),
]


@pytest.mark.parametrize(("reason", "words", "said"), WAITING, ids=[w[0] for w in WAITING])
def test_pod_that_waits_is_explained_and_heals(
    resource: Resource, messages: Messages, reason: str, words: str, said: str
) -> None:
    pod = resource.pod_of("prepare")
    resource.waiting(pod, reason, words)
    resource.wait_said(Ready=("False", said), Reconciling=("True", "Preparing"))
    assert words in resource.message()
    resource.run(messages)


def test_pod_that_fits_nowhere_is_unschedulable(resource: Resource) -> None:
    pod = resource.pod_of("prepare")
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory.",
    }
    resource.set_pod(pod, {"conditions": [condition]})
    resource.wait_said(Ready=("False", "Unschedulable"), Reconciling=("True", "Preparing"))


PERMANENT = [reason for code, reason in EXIT_CODES.items() if REASONS[reason].permanent]


@pytest.mark.parametrize("reason", PERMANENT)
def test_permanent_failure_of_a_job_stalls_without_a_retry(
    resource: Resource, messages: Messages, reason: Reason
) -> None:
    pod = resource.pod_of("prepare")
    code = REASONS[reason].exit_code
    assert code is not None
    resource.finish(pod, messages.error(reason, "what was wrong"), exit_code=code, reason="Error")
    resource.wait_said(Ready=("False", reason), Stalled=("True", reason))
    assert resource.message() == f"what was wrong. {REASONS[reason].remedy}"
    assert len(resource.pods()) == 1


def test_failure_that_may_pass_is_retried_and_then_stalls(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    resource = make_resource(execution={"backoffLimit": 1})
    told = messages.error(Reason.STORE_UNREACHABLE, "no answer from store:9000")
    for _ in range(2):
        resource.finish(resource.pod_of("prepare"), told, exit_code=80, reason="Error")
        resource.wait_for(lambda: resource.said().get("Ready") == ("False", "StoreUnreachable"))
    resource.wait_said(Ready=("False", "StoreUnreachable"), Stalled=("True", "StoreUnreachable"))
    assert len(resource.pods()) == 2


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [
        ({"exitCode": 137, "reason": "OOMKilled"}, {}, "OutOfMemory"),
        ({"exitCode": 143, "reason": "Error"}, {"reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        ({"exitCode": 1, "reason": "Error", "message": "killed by a bug"}, {}, "JobFailed"),
    ],
    ids=["memory", "deadline", "crash"],
)
def test_pod_that_dies_is_explained(
    operator: Operator,
    make_resource: MakeResource,
    ended: dict[str, Any],
    status: dict[str, Any],
    said: str,
) -> None:
    resource = make_resource(execution={"backoffLimit": 0})
    container = {
        "name": "optimizer",
        "image": "mopt/optimizer:test",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    pod = resource.pod_of("prepare")
    resource.set_pod(pod, {"phase": "Failed", "containerStatuses": [container]} | status)
    resource.wait_said(Ready=("False", said), Stalled=("True", said))


KILLED = {"exitCode": 137, "reason": "OOMKilled"}
TOO_LATE = {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than ..."}


def ended(container: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """Return a Pod's status as the kubelet reports the end of its container."""
    state = {
        "name": "optimizer",
        "image": "mopt/optimizer:test",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": container},
    }
    return {"phase": "Failed", "containerStatuses": [state]} | status


@pytest.mark.parametrize(
    ("container", "status", "reason"),
    [
        (KILLED, {}, "OutOfMemory"),
        ({"exitCode": 143, "reason": "Error"}, TOO_LATE, "DeadlineExceeded"),
    ],
    ids=["memory", "deadline"],
)
def test_preparation_that_would_end_the_same_way_is_not_tried_again(
    operator: Operator,
    make_resource: MakeResource,
    container: dict[str, Any],
    status: dict[str, Any],
    reason: str,
) -> None:
    resource = make_resource(execution={"backoffLimit": 2})
    first = resource.pod_of("prepare")
    resource.set_pod(first, ended(container, status))
    resource.wait_said(Ready=("False", reason), Stalled=("True", reason))
    rest = [pod for pod in resource.pods() if pod["metadata"]["name"] != first["metadata"]["name"]]
    assert [pod for pod in rest if "deletionTimestamp" not in pod["metadata"]] == []


def test_measurement_that_the_kernel_killed_and_pod_that_was_killed_to_be_moved_are_replaced(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    resource = make_resource(execution={"backoffLimit": 1})
    moved = {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "x"}]}
    resource.set_pod(resource.pod_of("prepare"), ended({"exitCode": 137, "reason": "Error"}, moved))
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.set_pod(resource.pod_of("measure"), ended(KILLED, {}))
    resource.finish(resource.pod_of("measure"), messages.measure())
    resource.wait_said(Ready=("True", "Optimized"))


DISRUPTED = {
    "phase": "Failed",
    "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    ],
    "reason": "Evicted",
    "message": "The node was low on resource: memory.",
}


def test_disrupted_pod_is_replaced_and_not_counted(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    resource = make_resource(execution={"backoffLimit": 0})
    resource.set_pod(resource.pod_of("prepare"), DISRUPTED)
    resource.run(messages)


def test_pod_that_the_namespace_forbids_is_explained_in_the_api_server_s_words(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
    api: Api,
) -> None:
    namespace = make_namespace()
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    api.call("POST", quotas, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    make_operator(watchNamespaces=[namespace]).start()
    resource = make_resource(namespace=namespace)
    resource.wait_said(Ready=("False", "PodForbidden"), Reconciling=("True", "Preparing"))
    assert "exceeded quota: none" in resource.message()
    api.call("DELETE", f"{quotas}/none")
    resource.run(messages)


def test_job_that_is_refused_by_quota_is_waited_for(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    api: Api,
) -> None:
    namespace = make_namespace()
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    hard = {"count/jobs.batch": "0"}
    api.call("POST", quotas, {"metadata": {"name": "none"}, "spec": {"hard": hard}})
    make_operator(watchNamespaces=[namespace]).start()
    resource = make_resource(namespace=namespace)
    resource.wait_said(Ready=("False", "PodForbidden"), Reconciling=("True", "Preparing"))
    assert "exceeded quota: none" in resource.message()


def test_job_that_the_api_server_calls_invalid_stalls_in_its_words(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    resource = make_resource(targets=[{"name": "a", "nodeSelector": {"no label": "x"}}])
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    assert "name part must consist of alphanumeric characters" in resource.message()
    # What was prepared for nodes that are selected stays.
    resource.patch({"spec": {"targets": [{"name": "a", "nodeSelector": {"label": "x"}}]}})
    resource.finish(resource.pod_of("measure"), messages.measure("a"))
    resource.wait_said(Ready=("True", "Optimized"))


def test_requests_above_limits_stall_before_any_job(
    operator: Operator, make_resource: MakeResource
) -> None:
    resources = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
    resource = make_resource(targets=[{"name": "a", "resources": resources}])
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    assert "a: resources.requests.cpu 2 is more than limits.cpu 1" in resource.message()
    assert resource.jobs() == []


def test_unknown_profile_stalls_and_names_the_known_ones(
    operator: Operator, make_resource: MakeResource
) -> None:
    resource = make_resource(targets=[{"name": "a", "profile": "gpu"}])
    resource.wait_said(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec"))
    assert "profile gpu; available profiles: default" in resource.message()
    assert resource.jobs() == []


def test_foreign_job_of_the_same_name_is_reported(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    api: Api,
) -> None:
    namespace = make_namespace()
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    operator.kill()
    (job,) = resource.jobs()
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    api.call("DELETE", f"{path}/{job['metadata']['name']}?propagationPolicy=Background")
    resource.wait_for(lambda: not resource.jobs() and not resource.pods())
    container = {"name": "c", "image": "i"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    foreign = {"metadata": {"name": job["metadata"]["name"]}, "spec": {"template": template}}
    api.call("POST", path, foreign)
    operator.start()
    resource.wait_for(lambda: resource.said().get("Ready") == ("False", "PodForbidden"))
    assert "does not belong to mopt" in resource.message()
