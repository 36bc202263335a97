"""The Job that publishes: small, on the default profile, Secrets mounted by the kubelet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_messages import digest
from pod_environment import environment

from mopt_api.enums import TargetKind
from mopt_api.jobs.plan import PLAN_ADAPTER, PublishPlan
from mopt_api.jobs.publishing import REGISTRY_AUTH_FILE, SIGNING_KEY_FILE, PublishedForm
from mopt_api.spec import ModelOptimizationSpec, Output
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.admission import Lane, claims_of
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.publish_work import Order, publish_work
from mopt_operator.decide.request import Request
from mopt_operator.decide.status import blob_uri
from mopt_operator.decide.work import WorkItem, job_namer
from mopt_operator.objects import Resource, observe_job

BASE = f"registry.test/base@{digest('base')}"
SETTINGS: dict[str, Any] = {
    "optimizerImage": "mopt/optimizer:1",
    "profiles": {
        "default": {
            "nodeSelector": {"pool": "cpu"},
            "resources": {"limits": {"cpu": 8, "nvidia.com/gpu": 1}},
            "maxRunning": 3,
        }
    },
}
OUTPUT = "s3://out/sr"
SIGNING = {"signing": {"secretName": "signing", "key": "cosign.key"}, "baseImage": BASE}
RESOURCE = Resource("team", "sr", "uid-1", 3, "7", {}, {}, requested_at="2026-11-01")
STORE = {"credentialsSecretRef": {"name": "store"}}


def settings(**publish: object) -> Settings:
    return parse_settings(json.dumps(SETTINGS | {"publish": publish}))


def form(target: str = "default", variant: str = "openvino-bf16") -> PublishedForm:
    return PublishedForm(
        target=target,
        kind=TargetKind.CPU,
        variant=variant,
        artifact=digest(variant),
        uri="s3://models/m.onnx" if variant == "baseline" else blob_uri(OUTPUT, digest(variant)),
        result=digest("result"),
    )


def request(model: dict[str, Any] | None = None, **oci: object) -> Request:
    spec = ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m.onnx", "sha256": "a" * 64, "format": "ONNX"}
            | (model or {}),
            "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
            "execution": {"activeDeadlineSeconds": 900, "backoffLimit": 3, "queueName": "cpu"},
            "publish": {"oci": {"repository": "registry.test/team/sr"} | oci},
        }
    )
    return Request(spec, Output.model_validate({"uri": OUTPUT} | STORE), ())


def work(
    asked: Request | None = None, offered: Settings | None = None, *forms: PublishedForm
) -> WorkItem:
    asked = asked or request()
    assert asked.spec.publish is not None
    order = Order(asked.spec.publish, forms or (form(),), "0" * 16)
    return publish_work(order, asked, RESOURCE, offered or settings())


def pod(item: WorkItem, offered: Settings | None = None) -> dict[str, Any]:
    job = build_job(item, RESOURCE, offered or settings())
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def volume(name: str, *sources: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "projected": {"sources": [*sources], "defaultMode": 0o440}}


def source(secret: str, key: str, path: str, *, optional: bool = False) -> dict[str, Any]:
    items = [{"key": key, "path": path}]
    return {"secret": {"name": secret, "items": items, "optional": optional}}


def test_secrets_are_files_that_the_kubelet_mounts_read_only() -> None:
    asked, offered = request(credentialsSecretRef={"name": "push"}), settings(**SIGNING)
    spec = pod(work(asked, offered), offered)
    assert spec["volumes"][2:] == [
        volume(
            "registry",
            source("push", ".dockerconfigjson", "config.json"),
            source("push", "ca.crt", "ca.crt", optional=True),
        ),
        volume("signing", source("signing", "cosign.key", "key.pem")),
    ]
    (container,) = spec["containers"]
    assert container["volumeMounts"][2:] == [
        {"name": "registry", "mountPath": REGISTRY_AUTH_FILE[: -len("/config.json")]}
        | {"readOnly": True},
        {"name": "signing", "mountPath": SIGNING_KEY_FILE[: -len("/key.pem")], "readOnly": True},
    ]
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("group", "mode"), [(65532, 0o440), (0, 0o440), (None, 0o444)])
def test_secret_files_can_be_read_whoever_they_belong_to(group: int | None, mode: int) -> None:
    asked = request(credentialsSecretRef={"name": "push"})
    pods = {"podSecurityContext": {"fsGroup": group}}
    offered = parse_settings(json.dumps(SETTINGS | {"jobs": pods}))
    spec = pod(work(asked, offered), offered)
    assert spec["securityContext"].get("fsGroup") == group
    assert [each["projected"]["defaultMode"] for each in spec["volumes"][2:]] == [mode]


def test_without_secrets_nothing_is_mounted() -> None:
    spec = pod(work())
    assert [each["name"] for each in spec["volumes"]] == ["tmp", "shm"]


def test_it_is_small_whatever_the_profile_offers() -> None:
    (container,) = pod(work())["containers"]
    assert container["args"] == ["publish"]
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    assert pod(work())["nodeSelector"] == {"pool": "cpu"}
    large = settings(resources={"limits": {"memory": "8Gi"}})
    (container,) = pod(work(None, large), large)["containers"]
    assert container["resources"]["limits"]["memory"] == "8Gi"


def test_its_plan_says_what_to_push_and_for_whom() -> None:
    offered = settings(**SIGNING)
    (container,) = pod(work(None, offered, form("a"), form("b", "fp32")), offered)["containers"]
    plan = PLAN_ADAPTER.validate_json(environment(container["env"])["MOPT_PLAN"])
    assert isinstance(plan, PublishPlan)
    assert (plan.base_image, plan.signed, plan.output_uri) == (BASE, True, "s3://out/sr")
    assert plan.forms == [form("a"), form("b", "fp32")]
    assert plan.resource.model_dump() == {
        "namespace": "team",
        "name": "sr",
        "uid": "uid-1",
        "generation": 3,
    }
    assert plan.oci.repository == "registry.test/team/sr"


@pytest.mark.parametrize(
    ("model", "variant", "roles"),
    [
        ({}, "fp32", {"OUTPUT": "store"}),
        ({"credentialsSecretRef": {"name": "models"}}, "fp32", {"OUTPUT": "store"}),
        ({}, "baseline", {"OUTPUT": "store", "MODEL": "store"}),
        (
            {"credentialsSecretRef": {"name": "models"}},
            "baseline",
            {"OUTPUT": "store", "MODEL": "models"},
        ),
        ({"uri": "https://models.example.com/m.onnx"}, "baseline", {"OUTPUT": "store"}),
    ],
)
def test_it_has_the_credentials_of_the_stores_that_it_reads(
    model: dict[str, Any], variant: str, roles: dict[str, str]
) -> None:
    (container,) = pod(work(request(model), None, form(variant=variant)))["containers"]
    found = {
        each["name"].removeprefix("MOPT_").removesuffix("_AWS_ACCESS_KEY_ID"): each["valueFrom"][
            "secretKeyRef"
        ]["name"]
        for each in container["env"]
        if each["name"].endswith("_AWS_ACCESS_KEY_ID")
    }
    assert found == roles


@pytest.mark.parametrize(("variant", "roles"), [("baseline", ("MODEL",)), ("fp32", ())])
def test_a_public_baseline_is_read_without_keys(variant: str, roles: tuple[str, ...]) -> None:
    item = work(request({"credentials": "Anonymous"}), None, form(variant=variant))
    assert item.anonymous == roles
    (container,) = pod(item)["containers"]
    found = {each["name"]: each for each in container["env"]}
    assert ("MOPT_MODEL_CREDENTIALS" in found) == bool(roles)
    assert "MOPT_MODEL_AWS_ACCESS_KEY_ID" not in found


def test_a_baseline_is_read_from_its_claim() -> None:
    kept = form(variant="baseline").model_copy(update={"uri": "pvc://models/sr/m.onnx"})
    item = work(request({"uri": kept.uri}), None, kept)
    assert set(item.secrets) == {"OUTPUT"}
    assert pod(item)["volumes"][2:] == [
        {"name": "claim-0", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    ]


def test_a_baseline_is_read_from_its_registry_with_its_own_login() -> None:
    kept = form(variant="baseline").model_copy(update={"uri": "oci://registry.test/sr:v1"})
    asked = request(
        {"uri": kept.uri, "credentialsSecretRef": {"name": "pull"}},
        credentialsSecretRef={"name": "push"},
    )
    for forms, files in (
        ((kept,), {"registry": "push", "model-registry": "pull"}),
        ((form(),), {"registry": "push"}),
    ):
        item = work(asked, None, *forms)
        assert set(item.secrets) == {"OUTPUT"}
        assert {file.name: file.secret for file in item.files} == files


def test_what_lies_in_a_claim_is_published_from_there() -> None:
    asked = request()
    claimed = Request(asked.spec, Output(uri="pvc://out/sr"), ())
    held = form().model_copy(update={"uri": blob_uri("pvc://out/sr", digest("openvino-bf16"))})
    item = work(claimed, None, held)
    assert item.secrets == {}
    assert pod(item)["volumes"][2:] == [
        {"name": "claim-0", "persistentVolumeClaim": {"claimName": "out", "readOnly": True}}
    ]
    assert "fsGroupChangePolicy" not in pod(item)["securityContext"]


def test_job_is_tried_once_and_says_which_attempt_it_is() -> None:
    offered = settings()
    jobs = [build_job(work(), RESOURCE, offered, attempt=number) for number in (0, 7)]
    assert [job["spec"]["backoffLimit"] for job in jobs] == [0, 0]
    for number, job in zip((0, 7), jobs, strict=True):
        raw = job["metadata"] | {
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": "2026-11-01T12:00:00Z",
        }
        observed = observe_job(job | {"metadata": raw})
        assert (observed.stage, observed.attempt) == ("publish", number)
        assert observed.name == job_namer(work(), RESOURCE, offered)(number)
    assert jobs[0]["metadata"]["name"] != jobs[1]["metadata"]["name"]


@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "٣", "9" * 5000])
def test_attempt_that_somebody_wrote_is_none(text: str) -> None:
    job = build_job(work(), RESOURCE, settings())
    job["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    job["metadata"] |= {"creationTimestamp": "2026-11-01T12:00:00Z"}
    job["metadata"]["annotations"]["mopt.dev/attempt"] = text
    assert observe_job(job).attempt == 0


def test_it_counts_as_a_preparation_does_and_needs_no_measurement_slot() -> None:
    offered = settings()
    queued = build_job(work(), RESOURCE, offered)
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "cpu"
    del queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    (claim,) = claims_of(RESOURCE, [queued], offered)
    assert claim.lane == Lane("default", measures=False)
