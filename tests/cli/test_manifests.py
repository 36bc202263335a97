"""Manifests of what a resource published, and what of its status says that there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from served_forms import loaded

from mopt_cli._errors import CliError
from mopt_cli.manifests import Served, inference_service, kustomization, pod, served
from mopt_cli.selections import target_of

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
REFERENCE = f"registry.example/models/net@{OTHER}"
PUBLISHED = {
    "reference": REFERENCE,
    "index": REFERENCE,
    "signed": False,
    "artifact": DIGEST,
    "key": "0123",
    "time": "2026-11-29T00:00:00Z",
}
ARTIFACT = {
    "digest": DIGEST,
    "sizeBytes": 9,
    "format": "ONNX",
    "uri": f"s3://out/x/blobs/sha256/{'a' * 64}",
    "variant": "fast",
    "runtime": "ONNXRuntime",
    "precision": "FP32",
    "report": OTHER,
    "generation": 1,
    "time": "2026-11-29T00:00:00Z",
}
TARGET = {
    "name": "cpu",
    "hardware": {"threads": 4},
    "report": {"digest": OTHER, "uri": f"s3://out/x/blobs/sha256/{'b' * 64}"},
    "artifact": ARTIFACT,
    "published": PUBLISHED,
}
ENVIRONMENT = [
    {"name": "OMP_NUM_THREADS", "value": "4"},
    {"name": "MKL_NUM_THREADS", "value": "4"},
    {"name": "OPENBLAS_NUM_THREADS", "value": "4"},
]
"""Of which libraries size their pools, in place of the node's CPUs."""
OCI = {"repository": "registry.example/models/net"}


def resource(*targets: dict[str, Any], oci: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "net"},
        "spec": {
            "publish": {"oci": OCI if oci is None else oci},
            "targets": [{"name": "cpu", "nodeSelector": {"cpu": "milan"}}, {"name": "other"}],
        },
        "status": {"targets": list(targets)},
    }


def form(**changes: Any) -> Served:
    raw = resource(TARGET | changes)
    return served(raw, target_of(raw, None))


def openvino() -> Served:
    return form(artifact=ARTIFACT | {"runtime": "OpenVINO"})


def test_kserve_takes_the_image_by_digest() -> None:
    found = inference_service(form())
    assert found["metadata"] == {"name": "net", "annotations": {"mopt.dev/artifact": DIGEST}}
    assert found["spec"]["predictor"] == {
        "nodeSelector": {"cpu": "milan"},
        "model": {
            "modelFormat": {"name": "triton"},
            "runtime": "kserve-tritonserver",
            "protocolVersion": "v2",
            "storageUri": f"oci://{REFERENCE}",
            "env": ENVIRONMENT,
            "resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "4"}},
        },
    }
    assert inference_service(openvino())["spec"]["predictor"]["model"]["runtime"] == (
        "kserve-openvino"
    )


EXPORTED = {
    "name": "openvino-fp32",
    "runtime": "OpenVINO",
    "precision": "FP32",
    "state": "Passed",
    "peakMemoryBytes": 2**30,
    "artifact": {"digest": OTHER, "sizeBytes": 7, "format": "ONNX", "uri": "s3://out/x"},
}
IN_PLACE = TARGET | {
    "artifact": ARTIFACT | {"variant": "baseline", "runtime": "PyTorch"},
    "published": PUBLISHED
    | {"artifact": OTHER, "variant": EXPORTED["name"], "insteadOf": ARTIFACT["digest"]},
    "variants": [EXPORTED],
}


def test_what_takes_the_place_of_the_selected_is_served() -> None:
    found = form(**IN_PLACE)
    assert found.metadata["annotations"] == {"mopt.dev/artifact": OTHER}
    assert found.by_openvino
    assert found.memory is not None
    with pytest.raises(CliError, match=f"what was published, {OTHER}, is no form of the last run"):
        form(**IN_PLACE | {"variants": []})


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        (form(), ["tritonserver", "--model-repository=/mnt/mopt/models"]),
        (
            openvino(),
            ["--config_path=/mnt/mopt/models/config.json", "--port=9000", "--rest_port=8000"],
        ),
    ],
    ids=["Triton", "OpenVINO Model Server"],
)
def test_a_pod_mounts_the_image(made: Served, arguments: list[str]) -> None:
    spec = pod(made, "server:1")["spec"]
    (container,) = spec["containers"]
    assert (container["image"], container["args"]) == ("server:1", arguments)
    assert container["env"] == ENVIRONMENT
    assert container["volumeMounts"] == [
        {"name": "model", "mountPath": "/mnt/mopt", "readOnly": True}
    ]
    image = {"reference": REFERENCE, "pullPolicy": "IfNotPresent"}
    assert spec["volumes"] == [{"name": "model", "image": image}]


VARIANT = {"name": "fast", "runtime": "ONNXRuntime", "precision": "FP32", "state": "Passed"}


def under_load(instances: int, threads: int, hardware: dict[str, Any], **figures: Any) -> Served:
    load = loaded({"instances": instances, "threads": threads, "batch": 1})
    return form(variants=[VARIANT | {"load": load} | figures], hardware=hardware)


@pytest.mark.parametrize(
    ("copies", "hardware", "cpu"),
    [
        (3, {"threads": 8}, "6"),
        (4, {"threads": 8}, "8"),
        # A thread that was throttled, and room beside the threads: as in the measurement.
        (1, {"threads": 2, "cpus": 0.5}, "500m"),
        (1, {"threads": 3, "cpus": 3.5}, "2"),
        (1, {"threads": 2, "cpus": 2.5}, "2500m"),
        (1, {}, "2"),
    ],
)
def test_cpus_are_the_limit_that_was_measured_or_what_the_copies_need(
    copies: int, hardware: dict[str, Any], cpu: str
) -> None:
    found = under_load(copies, 2, hardware)
    assert found.resources == {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}
    assert (found.copies, found.threads) == (copies, 2)
    assert {each["value"] for each in found.settings["env"]} == {"2"}


def test_memory_is_that_of_all_copies_with_room() -> None:
    found = under_load(2, 1, {"threads": 2}, peakMemoryBytes=300 * 2**20).resources
    assert found == {"requests": {"cpu": "2", "memory": "768Mi"}, "limits": {"cpu": "2"}}
    gpu = {"name": "NVIDIA L4", "computeCapability": "8.9"}
    on_gpu = under_load(1, 1, {"threads": 1, "gpu": gpu}, peakMemoryBytes=9 * 2**30).resources
    assert "memory" not in on_gpu["requests"]


def test_a_gpu_is_requested_where_one_was_measured() -> None:
    gpu = {"name": "NVIDIA L4", "computeCapability": "8.9"}
    found = form(hardware={"threads": 4, "gpu": gpu}).resources
    assert found == {"requests": {"cpu": "4"}, "limits": {"cpu": "4", "nvidia.com/gpu": "1"}}
    assert form(hardware={}).resources == {}
    # Which resource a slice of a GPU is, only its cluster knows.
    sliced = form(hardware={"gpu": gpu | {"mig": True}})
    assert sliced.resources == {}


def test_kustomize_pins_deployment_and_inference_service() -> None:
    component = kustomization(form())
    assert component["kind"] == "Component"
    patches = [yaml.safe_load(patch["patch"]) for patch in component["patches"]]
    assert [patch["kind"] for patch in patches] == ["Deployment", "InferenceService"]
    assert json.dumps(patches).count(REFERENCE) == 2
    pinned = replace(openvino(), arguments=("--target_device=CPU",))
    *_, service = kustomization(pinned)["patches"]
    model = yaml.safe_load(service["patch"])["spec"]["predictor"]["model"]
    made = inference_service(pinned)["spec"]["predictor"]["model"]
    assert model.items() <= made.items()
    assert set(model) == {"storageUri", "args", "env", "resources"}


@pytest.mark.parametrize(
    ("raw", "wanted", "words"),
    [
        (resource(), None, "net has no result yet: mopt watch net waits for it"),
        (
            resource(TARGET, TARGET | {"name": "gpu"}),
            None,
            "net has results for the targets cpu, gpu: choose one with --target",
        ),
        (resource(TARGET), "gpu", "net has no result for a target gpu: there is cpu"),
        (resource({"name": "cpu"}), None, "status.targets.0.hardware: Field required"),
        (resource(TARGET | {"artifact": None}), None, "nothing is selected for target cpu"),
        (resource(TARGET | {"published": None}), None, "wait for condition Published"),
        (resource(TARGET | {"published": None}, oci={}), None, "set spec.publish.oci, or use --as"),
        (
            resource(TARGET | {"published": PUBLISHED | {"artifact": OTHER}}),
            None,
            f"has published {OTHER}: wait for condition Published, or approve it",
        ),
        (
            resource(TARGET, oci=OCI | {"layout": "Files"}),
            None,
            "publishes the layout Files, which no server loads: set spec.publish.oci.layout",
        ),
    ],
    ids=[
        "no result yet",
        "several targets",
        "no such target",
        "a status of something else",
        "nothing selected",
        "not published yet",
        "not to be published",
        "another form published",
        "a layout without a server",
    ],
)
def test_refused(raw: dict[str, Any], wanted: str | None, words: str) -> None:
    with pytest.raises(CliError, match=words):
        served(raw, target_of(raw, wanted))
