"""Every constraint of the schema, found by walking it: each is broken once on a real API server."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from mopt_api.crd import custom_resource_definition
from mopt_api.spec import ModelOptimizationSpec

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
Path = tuple[str | int, ...]

SECRET = {"name": "store"}
DATA = {
    "uri": "s3://data/images/",
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
}
# A resource with every field that there is.
FULL: Json = {
    "model": {
        "uri": "s3://models/sr.pt2",
        "sha256": "a" * 64,
        "format": "ONNX",
        "credentialsSecretRef": SECRET,
    },
    "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 3, 64, 64]}],
    "dimensions": {"batch": {"min": 1, "opt": 2, "max": 4, "multipleOf": 1}},
    "data": {"calibration": DATA, "evaluation": DATA},
    "variants": [
        {
            "name": "int8",
            "runtime": "ONNXRuntime",
            "precision": "INT8",
            "quantization": {
                "mode": "Static",
                "calibrator": "MinMax",
                "perChannel": True,
                "exclude": ["Gemm"],
                "fallback": "Off",
            },
        }
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
        {"metric": "MaxAbsError", "maximum": 0.1},
    ],
    "objective": {
        "metric": "LatencyP50",
        "point": "single",
        "minimumSpeedup": 1.5,
        "onNoWinner": "Fail",
    },
    "benchmark": {
        "warmupSeconds": 1,
        "minDurationSeconds": 1,
        "points": [{"name": "single", "dimensions": {"batch": 1}}],
        "threads": 2,
    },
    "output": {"uri": "s3://optimized/sr", "credentialsSecretRef": SECRET},
    "execution": {
        "activeDeadlineSeconds": 600,
        "backoffLimit": 1,
        "suspend": True,
        "queueName": "cpu",
        "ttlSecondsAfterFinished": 60,
    },
}


def _schema() -> Json:
    (version,) = custom_resource_definition()["spec"]["versions"]
    spec: Json = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _nodes(schema: Json, value: Any, path: Path = ()) -> Iterator[tuple[Path, Json, Any]]:
    """Walk a schema along a value that has every field.

    Fields that exclude each other are in several items of a list: of the second item on those
    with a field that the first lacks are walked too.
    """
    yield path, schema, value
    for name, child in schema.get("properties", {}).items():
        if name in value:
            yield from _nodes(child, value[name], (*path, name))
    if isinstance(schema.get("additionalProperties"), dict):
        for name in value:
            yield from _nodes(schema["additionalProperties"], value[name], (*path, name))
    if "items" in schema:
        for number, item in enumerate(value):
            if number == 0 or (isinstance(item, dict) and set(item) - set(value[0])):
                yield from _nodes(schema["items"], item, (*path, number))


def _fields(schema: Json, path: Path = ()) -> Iterator[Path]:
    """Return every field of a schema; items of lists have no name."""
    yield path
    for name, child in schema.get("properties", {}).items():
        yield from _fields(child, (*path, name))
    if "items" in schema:
        yield from _fields(schema["items"], path)


def test_no_field_is_left_out() -> None:
    walked = {
        tuple(part for part in path if isinstance(part, str))
        for path, _, _ in _nodes(_schema(), FULL)
    }
    assert set(_fields(_schema())) - walked == set()


def _wrong_values(schema: Json, value: Any) -> Iterator[tuple[str, Any]]:
    """Return for each constraint of a field a value that breaks it."""
    if schema.get("x-kubernetes-int-or-string"):
        yield "type", []
        if "pattern" in schema:
            yield "pattern", "!"
        return
    yield "type", [] if schema["type"] != "array" else {}
    if "enum" in schema:
        yield "enum", "Nothing"
    if "minimum" in schema:
        step = 0 if schema.get("exclusiveMinimum") else 1
        yield "minimum", schema["minimum"] - step
    if "maximum" in schema:
        yield "maximum", schema["maximum"] + 1
    if "pattern" in schema:
        yield "pattern", "!" * max(schema.get("minLength", 1), 1)
    if "maxLength" in schema:
        yield "maxLength", "a" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield "minLength", ""
    if schema.get("minItems"):
        yield "minItems", []
    if "maxItems" in schema:
        yield "maxItems", value[:1] * (schema["maxItems"] + 1)
    if "maxProperties" in schema:
        (some,) = list(value.values())[:1]
        yield "maxProperties", {f"k{n}": some for n in range(schema["maxProperties"] + 1)}
    for name in schema.get("required", ()):
        yield f"required {name}", {k: v for k, v in value.items() if k != name}


def _replaced(path: Path, value: Any) -> Json:
    spec: Any = copy.deepcopy(FULL)
    if not path:
        assert isinstance(value, dict)
        return value
    place = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    result: Json = spec
    return result


CASES = [
    (".".join(map(str, ("spec", *path))), constraint, path, wrong)
    for path, schema, value in _nodes(_schema(), FULL)
    for constraint, wrong in _wrong_values(schema, value)
    # The whole spec of another type is no resource at all.
    if path or constraint != "type"
]
IDS = [f"{name}-{constraint}" for name, constraint, _, _ in CASES]


@pytest.fixture
def attempt(api: Any, resource_manifest: Callable[..., Json]) -> Callable[[Json], None]:
    """Return a function that has the API server judge a spec, without keeping it."""

    def run(spec: Json) -> None:
        manifest = resource_manifest()
        manifest["metadata"]["namespace"] = "default"
        manifest["spec"] = spec
        api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)

    return run


def test_resource_with_every_field_is_accepted(attempt: Callable[[Json], None]) -> None:
    attempt(FULL)
    ModelOptimizationSpec.model_validate(FULL)


@pytest.mark.parametrize(("name", "constraint", "path", "wrong"), CASES, ids=IDS)
def test_broken_constraint_is_refused_and_names_its_field(
    attempt: Callable[[Json], None], name: str, constraint: str, path: Path, wrong: Any
) -> None:
    with pytest.raises(Exception, match=r"422|400") as refusal:
        attempt(_replaced(path, wrong))
    field = next((part for part in reversed(path) if isinstance(part, str)), "spec")
    missing = constraint.removeprefix("required ")
    assert field in str(refusal.value) or missing in str(refusal.value)


@pytest.mark.parametrize(("name", "constraint", "path", "wrong"), CASES, ids=IDS)
def test_operator_refuses_it_too(name: str, constraint: str, path: Path, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        ModelOptimizationSpec.model_validate(_replaced(path, wrong))
