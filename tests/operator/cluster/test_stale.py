"""Each reason of Outdated, and what is withdrawn, on a real API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from job_messages import HARDWARE, Messages, Outcome, digest
from light_cluster import MakeOperator, MakeResource, Resource

from mopt_api.figures import DataDigests

pytestmark = pytest.mark.cluster

LATER = "2026-11-02T00:00:00Z"
CPU = HARDWARE.model_copy(update={"cpu_features": ["avx2", "avx512f"]})
DATA = DataDigests(evaluation=digest("evaluation"))
READY = ("True", "Optimized")


def run(resource: Resource, **outcome: Any) -> None:
    """Play the kubelet from the first Job to the last."""
    outcome = {"hardware": CPU, "data": DATA} | outcome
    resource.finish(resource.pod_of("prepare"), Messages.prepare())
    resource.finish(resource.pod_of("measure"), Messages.measure(**outcome))
    resource.wait_for(lambda: resource.said().get("Ready") == READY)


def outdated(resource: Resource) -> str:
    """Return the message of Outdated."""
    conditions = resource.read()["status"]["conditions"]
    return str(next(c["message"] for c in conditions if c["type"] == "Outdated"))


@pytest.mark.parametrize(
    ("later", "reason", "message"),
    [
        ({"hardware": HARDWARE.model_copy(update={"cpu": "Other CPU"})}, "HardwareChanged", "now"),
        (
            {"data": DataDigests(evaluation=digest("other"))},
            "DataChanged",
            "at the same place",
        ),
        ({"tools": {"openvino": "2026.2"}}, "RuntimeChanged", "openvino 2026.1, now 2026.2"),
        ({"build": "0.2.0+ffffffffffff"}, "OlderOptimizer", "now 0.2.0"),
    ],
    ids=["hardware", "data", "runtime", "optimizer"],
)
def test_what_another_resource_s_result_tells_marks_this_one(
    make_operator: MakeOperator,
    namespace: str,
    make_resource: MakeResource,
    later: Outcome,
    reason: str,
    message: str,
) -> None:
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource = make_resource(namespace=namespace)
    run(resource)
    other = make_resource(namespace=namespace, name="other")
    run(other, **({"at": LATER} | later))
    resource.wait_said(Ready=READY, Outdated=("True", reason))
    assert message in outdated(resource)
    assert other.said() == {"Ready": READY}
    version = resource.read()["metadata"]["resourceVersion"]
    # Statuses tell it all again after a restart, which writes nothing.
    operator.kill()
    operator.start()
    third = make_resource(namespace=namespace, name="third")
    third.pod_of("prepare")
    assert resource.read()["metadata"]["resourceVersion"] == version


def test_what_the_administrator_changes_marks_results(
    make_operator: MakeOperator, namespace: str, make_resource: MakeResource
) -> None:
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource = make_resource(namespace=namespace)
    run(resource)
    operator.kill()
    quota = {"default": {"resources": {"limits": {"cpu": "1", "memory": "4608Mi"}}}}
    operator = make_operator(watchNamespaces=[namespace], profiles=quota)
    operator.start()
    resource.wait_said(Ready=READY, Outdated=("True", "ResourcesChanged"))
    assert "CPU limit 2, now 1" in outdated(resource)
    operator.kill()
    bad = {"package": "openvino", "versions": "<2026.1.2", "because": "wrong results"}
    make_operator(watchNamespaces=[namespace], knownBad=[bad]).start()
    resource.wait_said(Ready=READY, Outdated=("True", "KnownBadVersion"))
    assert "wrong results" in outdated(resource)


def other_model(resource: Resource) -> dict[str, Any]:
    return {"model": resource.read()["spec"]["model"] | {"sha256": "b" * 64}}


def other_data(resource: Resource) -> dict[str, Any]:
    return {"data": {"evaluation": {"uri": "s3://data/other/"}}}


def other_gates(resource: Resource) -> dict[str, Any]:
    return {"quality": [{"metric": "SSIM", "minimum": 0.9}]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_model, "ModelChanged"),
        (other_data, "DataChanged"),
        (other_gates, "GatesChanged"),
    ],
)
def test_figures_of_an_earlier_wish_are_marked_until_there_are_others(
    make_operator: MakeOperator,
    namespace: str,
    make_resource: MakeResource,
    change: Callable[[Resource], dict[str, Any]],
    reason: str,
) -> None:
    make_operator(watchNamespaces=[namespace]).start()
    resource = make_resource(namespace=namespace)
    run(resource)
    resource.patch({"spec": change(resource)})
    resource.wait_for(lambda: resource.said().get("Outdated") == ("True", reason))
    (target,) = resource.read()["status"]["targets"]
    assert target["fromEarlierRun"] is True


def test_what_misses_a_tightened_gate_is_no_longer_named(
    make_operator: MakeOperator, namespace: str, make_resource: MakeResource
) -> None:
    make_operator(watchNamespaces=[namespace]).start()
    resource = make_resource(namespace=namespace)
    run(resource)
    gates = [{"metric": "PSNR", "minimum": 150}]
    resource.patch({"spec": {"quality": gates, "objective": {"onNoWinner": "Fail"}}})
    resource.wait_for(lambda: resource.said().get("Ready") == ("False", "NoVariantPassed"))
    status = resource.read()["status"]
    assert "artifact" not in status["targets"][0]
    (said,) = [c for c in status["conditions"] if c["type"] == "ArtifactAvailable"]
    assert (said["status"], said["reason"]) == ("False", "Withdrawn")
    assert "worst PSNR 58.34 is below 150" in said["message"]
