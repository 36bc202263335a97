"""Where models and data lie, and whose keys Jobs get, on a real API server with restricted Pods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_messages import MODEL_SHA, Messages
from light_cluster import Json, MakeNamespace, MakeOperator, MakeResource, Operator

pytestmark = pytest.mark.cluster

MODEL = {"uri": "pvc://models/sr/m.pt2", "sha256": MODEL_SHA, "format": "ExportedProgram"}
OUTPUT = {"uri": "pvc://results/sr"}
IDENTITY = {"audience": "minio", "endpoint": "https://minio.example:9000"}


def volumes(pod: Json) -> dict[str, Any]:
    return {volume["name"]: volume for volume in pod["spec"]["volumes"]}


def mounts(pod: Json) -> dict[str, bool]:
    """Return whether each mount of the Job's container is read-only, by its place."""
    (container,) = pod["spec"]["containers"]
    return {m["mountPath"]: m.get("readOnly", False) for m in container["volumeMounts"]}


def test_claims_are_mounted_into_restricted_pods(
    operator: Operator, make_resource: MakeResource, messages: Messages
) -> None:
    resource = make_resource(model=MODEL, output=OUTPUT)
    for stage in ("prepare", "measure"):
        pod = resource.pod_of(stage)
        held = volumes(pod)
        model = {"claimName": "models", "readOnly": True}
        assert held["claim-0"]["persistentVolumeClaim"] == model
        assert held["claim-1"]["persistentVolumeClaim"] == {"claimName": "results"}
        assert mounts(pod)["/run/mopt/claims/models"]
        assert not mounts(pod)["/run/mopt/claims/results"]
        if stage == "prepare":
            resource.finish(pod, messages.prepare())


def test_a_claim_that_is_missing_is_told(operator: Operator, make_resource: MakeResource) -> None:
    resource = make_resource(model=MODEL, output=OUTPUT)
    pod = resource.pod_of("prepare")
    said = '0/3 nodes are available: persistentvolumeclaim "models" not found.'
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": said,
    }
    resource.set_pod(pod, {"phase": "Pending", "conditions": [condition]})
    resource.wait_for(lambda: 'persistentvolumeclaim "models" not found' in resource.message())


def test_a_registry_s_login_is_a_file(operator: Operator, make_resource: MakeResource) -> None:
    model = MODEL | {
        "uri": "oci://registry.test/sr:v1#m.pt2",
        "credentialsSecretRef": {"name": "pull"},
    }
    pod = make_resource(model=model).pod_of("prepare")
    sources = volumes(pod)["model-registry"]["projected"]["sources"]
    assert [source["secret"]["name"] for source in sources] == ["pull", "pull"]
    assert mounts(pod)["/var/run/secrets/mopt.dev/model-registry"]


def test_an_archive_on_the_web_is_read_without_keys(
    operator: Operator, make_resource: MakeResource
) -> None:
    """Its Job is told what it must be; the output's keys are not for it."""
    archive = {"uri": "https://data.example.com/v1.0/pictures.zip#train", "sha256": "b" * 64}
    output = {"uri": "s3://optimized/sr", "credentialsSecretRef": {"name": "store"}}
    resource = make_resource(data={"calibration": archive}, quality=[], output=output)
    pod = resource.pod_of("prepare")
    (container,) = pod["spec"]["containers"]
    environ = {each["name"]: each.get("value") for each in container["env"]}
    planned = json.loads(environ["MOPT_PLAN"])["calibration"]
    assert planned.items() >= archive.items()
    assert "MOPT_OUTPUT_AWS_ACCESS_KEY_ID" in environ
    assert not [name for name in environ if name.startswith("MOPT_CALIBRATION_")]


def test_a_token_of_the_store_s_own_is_taken_by_the_api_server(
    make_operator: MakeOperator, make_namespace: MakeNamespace, make_resource: MakeResource
) -> None:
    namespace = make_namespace()
    jobs = {"storeIdentity": IDENTITY}
    operator = make_operator(watchNamespaces=[namespace], jobs=jobs)
    operator.start()
    resource = make_resource(namespace=namespace, output={"uri": "s3://optimized/sr"})
    pod = resource.pod_of("prepare")
    (source,) = volumes(pod)["identity"]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "minio"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert mounts(pod)["/var/run/secrets/mopt.dev/identity"]
    operator.stop()
