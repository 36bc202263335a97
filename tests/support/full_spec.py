"""A spec with every field that there is, and walks along the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mopt_api.crd import custom_resource_definition

Json = dict[str, Any]
Path = tuple[str | int, ...]

SECRET = {"name": "store"}
DATA = {
    "uri": "s3://data/images.zip",
    "sha256": "b" * 64,
    "samples": 4,
    "images": {
        "resize": [64, 64],
        "scale": 0.5,
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "crop": [64, 64],
        "layout": "NCHW",
        "color": "RGB",
    },
    "credentialsSecretRef": SECRET,
    "credentials": "Anonymous",
}
# A resource with every field that there is.
FULL: Json = {
    "model": {
        "uri": "s3://models/sr.pt2",
        "sha256": "a" * 64,
        "format": "ONNX",
        "credentialsSecretRef": SECRET,
        "credentials": "Anonymous",
    },
    "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 3, 64, 64]}],
    "dimensions": {"batch": {"min": 1, "opt": 2, "max": 4, "multipleOf": 1}},
    "derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 1}},
    "data": {
        "calibration": DATA,
        "evaluation": DATA
        | {
            "references": {
                "uri": "s3://data/truth.tar",
                "sha256": "c" * 64,
                "images": DATA["images"],
            }
        },
    },
    "variants": [
        {
            "name": "int8",
            "runtime": "ONNXRuntime",
            "precision": "INT8",
            "executionProvider": "CPU",
            "quantization": {
                "mode": "Static",
                "method": "QDQ",
                "calibrator": "MinMax",
                "perChannel": True,
                "floatPrecision": "FP32",
                "exclude": ["Gemm"],
                "fallback": "Auto",
                "searchBudgetSeconds": 120,
            },
        },
        {"name": "fp32", "runtime": "PyTorch", "precision": "FP32", "torchMode": "Compiled"},
        {
            "name": "weights",
            "runtime": "ONNXRuntime",
            "precision": "INT8",
            "quantization": {"mode": "WeightOnly", "weightBits": 8},
        },
    ],
    "targets": [
        {
            "name": "l4",
            "profile": "nvidia-l4",
            "nodeSelector": {"zone": "a"},
            "queueName": "gpu",
            "resources": {"requests": {"cpu": 1}, "limits": {"nvidia.com/gpu": 1}},
        }
    ],
    "quality": [
        {"metric": "PSNR", "minimum": 40, "aggregate": "Worst", "dataRange": 1},
        {
            "metric": "MaxAbsError",
            "maximum": 0.1,
            "output": "boxes",
            "slice": {"name": "scores", "axis": 1, "range": [4, 84]},
        },
    ],
    "objective": {
        "metric": "LatencyP50",
        "point": "single",
        "minimumSpeedup": 1.5,
        "constraints": [
            {"metric": "LatencyP99", "maximum": "50ms"},
            {"metric": "Throughput", "minimum": 10},
        ],
        "onNoWinner": "Fail",
    },
    "benchmark": {
        "warmupSeconds": 1,
        "minDurationSeconds": 1,
        "maxDurationSeconds": 2,
        "points": [{"name": "single", "dimensions": {"batch": 1}}],
        "threads": 2,
        "load": {
            "scenario": "Server",
            "durationSeconds": 5,
            "budgetSeconds": 60,
            "maximumBatch": 4,
        },
    },
    "output": {"uri": "s3://optimized/sr", "credentialsSecretRef": SECRET},
    "publish": {
        "oci": {
            "repository": "registry.test/team/sr",
            "layout": "Files",
            "tags": ["v1"],
            "credentialsSecretRef": {"name": "push"},
            "insecure": True,
        },
        "policy": "Manual",
    },
    "execution": {
        "activeDeadlineSeconds": 600,
        "progressDeadlineSeconds": 900,
        "backoffLimit": 1,
        "suspend": True,
        "queueName": "cpu",
        "ttlSecondsAfterFinished": 60,
    },
}


def schema_of_spec() -> Json:
    (version,) = custom_resource_definition()["spec"]["versions"]
    spec: Json = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def nodes(schema: Json, value: Any, path: Path = ()) -> Iterator[tuple[Path, Json, Any]]:
    """Walk a schema along a value that has every field.

    Fields that exclude each other are in several items of a list: of the second item on those
    with a field that the first lacks are walked too.
    """
    yield path, schema, value
    for name, child in schema.get("properties", {}).items():
        if name in value:
            yield from nodes(child, value[name], (*path, name))
    if isinstance(schema.get("additionalProperties"), dict):
        for name in value:
            yield from nodes(schema["additionalProperties"], value[name], (*path, name))
    if "items" in schema:
        for number, item in enumerate(value):
            if number == 0 or names(item) - names(value[0]):
                yield from nodes(schema["items"], item, (*path, number))


def names(value: Any) -> set[Path]:
    """Return every field that a value has; items of lists are values of their own."""
    if not isinstance(value, dict):
        return set()
    return {(name, *rest) for name, inner in value.items() for rest in [(), *names(inner)]}


def fields(schema: Json, path: Path = ()) -> Iterator[Path]:
    """Return every field of a schema; items of lists have no name."""
    yield path
    for name, child in schema.get("properties", {}).items():
        yield from fields(child, (*path, name))
    if "items" in schema:
        yield from fields(schema["items"], path)
