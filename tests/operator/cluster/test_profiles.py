"""The API server judges the profiles when the operator starts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_messages import Messages
from light_cluster import Api, MakeNamespace, MakeOperator, MakeResource

pytestmark = pytest.mark.cluster


def test_profile_that_the_api_server_refuses_ends_the_start(
    make_operator: MakeOperator, make_namespace: MakeNamespace, api: Api
) -> None:
    namespace = make_namespace()
    profiles = {"default": {}, "gpu": {"nodeSelector": {"a..b/gpu": "a100"}}}
    operator = make_operator(watchNamespaces=[namespace], profiles=profiles)
    assert operator.run() == 1
    started, line = operator.log_lines(2)
    assert "starts with the optimizer image" in started
    assert line.startswith("mopt-operator: profiles.gpu: the API server rejects its Jobs: Job.")
    assert 'spec.template.spec.nodeSelector: Invalid value: "a..b/gpu"' in line
    assert api.call("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"] == []


def test_quota_that_forbids_jobs_does_not_keep_the_operator_from_starting(
    make_operator: MakeOperator, make_namespace: MakeNamespace, api: Api
) -> None:
    namespace = make_namespace()
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"count/jobs.batch": 0}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    api.call("POST", path, quota | {"metadata": {"name": "none"}})
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    assert operator.stop() == 0
    assert f"Cannot check profile default in {namespace}: 403 Forbidden" in operator.log()


GPU = {"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1}}
PROFILES = {
    "default": {},
    "l4": {
        "image": "mopt/optimizer-gpu:test",
        "resources": GPU,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
    "a100-mig": {"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}},
    "engines": {"buildOnly": True, "computeCapabilities": ["8.6", "8.9", "12.0"]},
}


def test_each_kind_of_target_gets_the_job_of_its_profile(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    namespace = make_namespace()
    operator = make_operator(watchNamespaces=[namespace], profiles=PROFILES)
    # Its start shows each profile to the API server, which takes them all.
    operator.start()
    names = ["l4", "a100-mig", "engines"]
    resource = make_resource(
        namespace=namespace, targets=[{"name": name, "profile": name} for name in names]
    )
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    pods = {name: resource.pod_of("measure", name) for name in names}

    def limits(name: str) -> dict[str, str]:
        (container,) = pods[name]["spec"]["containers"]
        return dict(container["resources"]["limits"])

    def told(name: str) -> dict[str, Any]:
        (container,) = pods[name]["spec"]["containers"]
        (plan,) = [v["value"] for v in container["env"] if v["name"] == "MOPT_PLAN"]
        return dict(json.loads(plan))

    assert limits("l4")["nvidia.com/gpu"] == "1"
    assert limits("a100-mig")["nvidia.com/mig-1g.10gb"] == "1"
    assert not [name for name in limits("engines") if "/" in name]
    assert [told(name)["kind"] for name in names] == ["GPU", "GPU", "BuildOnly"]
    assert told("engines")["computeCapabilities"] == ["8.6", "8.9", "12.0"]
    assert pods["l4"]["spec"]["containers"][0]["image"] == "mopt/optimizer-gpu:test"
    for name in names:
        assert pods[name]["metadata"]["labels"]["mopt.dev/profile"] == name
        # No rule for the scheduler: the operator counts measurements.
        assert "podAntiAffinity" not in pods[name]["spec"].get("affinity", {})
    for name in names[:2]:
        resource.finish(pods[name], messages.measure(name))
    resource.finish(pods["engines"], messages.built("engines", psnr={"tensorrt-fp16": 80.0}))
    resource.wait_said(Ready=("True", "Optimized"))
    engines = resource.read()["status"]["targets"][2]
    assert engines["computeCapabilities"] == ["8.6", "8.9", "12.0"]
    assert engines["variants"][0]["state"] == "Built"
    assert not {"baseline", "point", "selected"} & set(engines)
    operator.stop()


def test_resource_that_only_builds_ends_built(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    namespace = make_namespace()
    operator = make_operator(watchNamespaces=[namespace], profiles=PROFILES)
    operator.start()
    targets = [{"name": "default", "profile": "engines"}]
    resource = make_resource(namespace=namespace, targets=targets)
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    built = messages.built("default", psnr={"tensorrt-fp16": 80.0, "tensorrt-int8": 45.0})
    resource.finish(resource.pod_of("measure", "default"), built)
    resource.wait_said(Ready=("True", "Built"))
    operator.stop()
