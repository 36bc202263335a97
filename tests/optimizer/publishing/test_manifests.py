"""What manifests say, and that nothing else decides on their digests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import FloatPrecision, Precision, Runtime, TargetKind
from mopt_api.publishing import PublishLayout
from mopt_optimizer.publishing.manifests import (
    EMPTY,
    LAYER,
    BaseImage,
    Descriptor,
    Document,
    FormFacts,
    image,
    index,
    model_file,
    model_pack,
    referrer,
    referrers_tag,
    with_referrer,
)

ARTIFACT = f"sha256:{'a' * 64}"
LAYERS = [Descriptor(LAYER, f"sha256:{'b' * 64}", 10), Descriptor(LAYER, f"sha256:{'c' * 64}", 20)]


def facts(**changed: Any) -> FormFacts:
    values: dict[str, Any] = {
        "target": "default",
        "kind": TargetKind.CPU,
        "artifact": ARTIFACT,
        "runtime": Runtime.OPENVINO,
        "precision": Precision.INT8,
        "format": ArtifactFormat.ONNX,
        "layout": PublishLayout.MODEL_REPOSITORY,
        "machine": "x86_64",
    }
    return FormFacts(**values | changed)


def read(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.data)
    return found


def test_what_runs_beside_int8_is_said() -> None:
    said = facts(float_precision=FloatPrecision.BF16).annotations
    assert said == facts().annotations | {"dev.mopt.float-precision": "BF16"}


def test_an_image_s_manifest() -> None:
    made = image(facts(), LAYERS, None)
    assert read(made.manifest) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": made.config.digest,
            "size": len(made.config.data),
        },
        "layers": [
            {"mediaType": LAYER, "digest": layer.digest, "size": layer.size} for layer in LAYERS
        ],
        "annotations": {
            "org.opencontainers.image.title": "OpenVINO INT8",
            "dev.mopt.artifact": ARTIFACT,
            "dev.mopt.runtime": "OpenVINO",
            "dev.mopt.precision": "INT8",
            "dev.mopt.format": "ONNX",
            "dev.mopt.layout": "ModelRepository",
            "dev.mopt.target-kind": "CPU",
        },
    }
    assert read(made.config) == {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in LAYERS]},
    }


def test_a_base_image_comes_first() -> None:
    base = BaseImage(
        f"registry.test:5000/sh@sha256:{'d' * 64}",
        [Descriptor(f"{LAYER}+gzip", f"sha256:{'e' * 64}", 5)],
        [f"sha256:{'f' * 64}"],
        {"Env": ["PATH=/bin"]},
    )
    made = image(facts(), LAYERS, base)
    layers = [layer["digest"] for layer in read(made.manifest)["layers"]]
    assert layers == [f"sha256:{'e' * 64}", *(layer.digest for layer in LAYERS)]
    assert read(made.config)["rootfs"]["diff_ids"][0] == f"sha256:{'f' * 64}"
    assert read(made.config)["config"] == {"Env": ["PATH=/bin"]}
    annotations = read(made.manifest)["annotations"]
    assert annotations["org.opencontainers.image.base.name"] == "registry.test:5000/sh"
    assert annotations["org.opencontainers.image.base.digest"] == f"sha256:{'d' * 64}"


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("ppc64le", "ppc64le"), (None, "amd64")],
    ids=["Intel's", "ARM's", "one that both name alike", "a result that does not say"],
)
def test_platforms_are_named_as_go_does(machine: str | None, architecture: str) -> None:
    assert facts(machine=machine).platform == {"architecture": architecture, "os": "linux"}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"target": "other"}, True),
        ({"precision": Precision.FP32}, False),
        ({"artifact": f"sha256:{'0' * 64}"}, False),
        ({"machine": "aarch64"}, False),
        ({"compute_capabilities": ("9.0",)}, False),
        ({"cpu_features": ("amx_bf16",)}, False),
    ],
    ids=[
        "nothing",
        "the target's name",
        "the precision",
        "the file",
        "the architecture",
        "the GPU",
        "what the CPU must have",
    ],
)
def test_what_decides_on_an_image_s_digest(changed: dict[str, Any], same: bool) -> None:
    first, second = image(facts(), LAYERS, None), image(facts(**changed), LAYERS, None)
    assert (first.manifest.digest == second.manifest.digest) is same


def test_an_index_has_first_what_runs_on_most_hardware_whatever_the_order() -> None:
    made = [
        image(facts(**changed), LAYERS, None)
        for changed in (
            {"target": "engine", "kind": TargetKind.GPU, "compute_capabilities": ("8.9",)},
            {"target": "gpu", "kind": TargetKind.GPU},
            {"target": "bf16", "cpu_features": ("avx512_bf16", "amx_bf16")},
            {"target": "b"},
            {"target": "a", "machine": "aarch64"},
        )
    ]
    entries = read(index(made))["manifests"]
    assert [entry["annotations"]["dev.mopt.target"] for entry in entries] == [
        "a",
        "b",
        "bf16",
        "gpu",
        "engine",
    ]
    assert index(made).digest == index(made[::-1]).digest
    assert entries[2]["annotations"]["dev.mopt.cpu-features"] == "amx_bf16,avx512_bf16"
    assert entries[4]["annotations"]["dev.mopt.compute-capabilities"] == "8.9"
    assert entries[0]["platform"] == {"architecture": "arm64", "os": "linux"}


def test_a_model_pack() -> None:
    layers = [
        model_file("model.onnx", ARTIFACT, 3, weights=True),
        model_file("config.json", f"sha256:{'9' * 64}", 2, weights=False),
    ]
    made = model_pack(facts(layout=PublishLayout.MODEL_PACK), layers)
    document = read(made.manifest)
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert [layer["mediaType"].rpartition("model.")[2] for layer in document["layers"]] == [
        "weight.v1.raw",
        "weight.config.v1.raw",
    ]
    assert document["layers"][0]["annotations"]["org.cncf.model.filepath"] == "model.onnx"
    assert read(made.config)["modelfs"]["diffIds"] == [layer.digest for layer in layers]


def test_a_referrer_names_its_subject_and_nothing_of_its_annotations() -> None:
    subject = Descriptor(LAYER, ARTIFACT, 7, {"some": "annotation"}, platform={"os": "linux"})
    document = referrer(subject, LAYERS[0], "application/vnd.test", {"a": "b"})
    assert read(document)["subject"] == {"mediaType": LAYER, "digest": ARTIFACT, "size": 7}
    assert read(document)["config"]["digest"] == EMPTY.digest
    assert read(document)["artifactType"] == "application/vnd.test"
    assert referrers_tag(ARTIFACT) == f"sha256-{'a' * 64}"


@pytest.mark.parametrize(
    "known",
    [None, b"", b"no JSON", b"[]", b'{"manifests": 3}', b'{"manifests": [7]}'],
    ids=["none", "nothing", "no JSON", "a list", "no list of manifests", "no manifest in it"],
)
def test_an_index_of_referrers_that_is_none_begins_anew(known: bytes | None) -> None:
    added = referrer(Descriptor(LAYER, ARTIFACT, 7), LAYERS[0], "application/vnd.test", {"a": "b"})
    grown = with_referrer(known, added)
    assert grown is not None
    (entry,) = read(grown)["manifests"]
    assert (entry["digest"], entry["artifactType"], entry["annotations"]) == (
        added.digest,
        "application/vnd.test",
        {"a": "b"},
    )
    assert with_referrer(grown.data, added) is None
