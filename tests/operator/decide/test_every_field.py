"""Every field of spec does something: another value makes another Job, or another decision."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from full_spec import FULL, Json, Path, nodes, schema_of_spec

from mopt_api.jobs.publishing import PublishedForm
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.publish_work import Order, publish_work
from mopt_operator.decide.request import is_suspended, read_request
from mopt_operator.decide.work import measure_work, prepare_work
from mopt_operator.objects import Resource

PREPARED = f"sha256:{'b' * 64}"


def _larger_batches(spec: Json) -> None:
    spec["dimensions"]["batch"]["min"] = spec["benchmark"]["points"][0]["dimensions"]["batch"] = 2


def _renamed_point(spec: Json) -> None:
    spec["benchmark"]["points"][0]["name"] = spec["objective"]["point"] = "other"


def _another_term(spec: Json) -> None:
    spec["dimensions"]["depth"] = spec["dimensions"]["batch"]
    spec["derivedDimensions"]["total"]["sumOf"] = ["depth"]


def _nncf(spec: Json) -> None:
    del spec["variants"][0]["executionProvider"]
    spec["variants"][0] |= {"runtime": "OpenVINO"}
    spec["variants"][0]["quantization"]["method"] = "NNCF"
    del spec["variants"][0]["quantization"]["searchBudgetSeconds"]


def _rest_in_bf16(spec: Json) -> None:
    del spec["variants"][0]["executionProvider"]
    spec["variants"][0] |= {"runtime": "OpenVINO"}
    spec["variants"][0]["quantization"]["floatPrecision"] = "BF16"


# Another valid value of each field, where one cannot be made up from its type: the value, a pair
# of the value and what changes beside it, or a function that changes the spec.
OTHER: dict[str, Any] = {
    "model.uri": "s3://models/other.pt2",
    "model.sha256": "b" * 64,
    "model.credentials": None,
    **{
        f"data.{place}.{field}": other
        for place in ("calibration", "evaluation", "evaluation.references")
        for field, other in (("uri", "s3://data/other.zip"), ("sha256", "d" * 64))
    },
    "data.calibration.credentials": None,
    "data.evaluation.credentials": None,
    "inputs.0.name": "picture",
    "inputs.0.shape.0": 2,
    "inputs.0.shape.1": 1,
    "dimensions.batch.min": _larger_batches,
    "dimensions.batch.opt": 3,
    "dimensions.batch.multipleOf": None,
    "derivedDimensions.total.sumOf.0": _another_term,
    "variants.0.name": "other",
    "variants.0.runtime": ("OpenVINO", {"executionProvider": None}),
    "variants.0.precision": ("FP32", {"quantization": None}),
    "variants.0.quantization.method": _nncf,
    "variants.0.quantization.floatPrecision": _rest_in_bf16,
    "variants.1.name": "other",
    "variants.1.runtime": ("OpenVINO", {"torchMode": None}),
    "variants.1.precision": "BF16",
    "variants.2.name": "other",
    "variants.2.runtime": "OpenVINO",
    "variants.2.precision": ("FP32", {"quantization": None}),
    "variants.2.quantization.mode": ("Dynamic", {"weightBits": None}),
    "variants.0.quantization.mode": (
        "Dynamic",
        {"calibrator": "MinMax", "searchBudgetSeconds": None},
    ),
    "variants.0.quantization.fallback": ("Off", {"searchBudgetSeconds": None}),
    "targets.0.name": "other",
    "targets.0.profile": "default",
    "targets.0.queueName": "other",
    "quality.0.metric": "SQNR",
    "objective.point": None,
    "objective.constraints.0.metric": "LatencyP90",
    "objective.constraints.0.maximum": "60ms",
    "objective.constraints.1.metric": ("SizeBytes", {"minimum": None, "maximum": "4Mi"}),
    "quality.1.metric": ("SSIM", {"maximum": None, "minimum": 0.5}),
    "data.calibration.images.crop.0": 16,
    "data.evaluation.images.crop.0": 16,
    "data.evaluation.references.images.crop.0": 16,
    "benchmark.points.0.name": _renamed_point,
    "output.uri": "s3://optimized/other",
    "publish.oci.repository": "registry.test/other",
    "publish.oci.layout": "ModelPack",
    "execution.queueName": "other",
}
# Fields whose effect is no Job's content; each names its test.
DECIDED = {
    "publish.policy": "decide/publication/test_approval.py",
    "execution.suspend": "decide/test_suspending.py",
    "execution.ttlSecondsAfterFinished": "decide/test_suspending.py",
    "execution.progressDeadlineSeconds": "decide/test_waiting.py",
}


@pytest.fixture
def settings() -> Settings:
    offered = {"resources": {"limits": {"nvidia.com/gpu": 4}}}
    profiles = {"default": offered, "nvidia-l4": offered | {"runtimeClassName": "nvidia"}}
    return parse_settings(json.dumps({"optimizerImage": "mopt/optimizer:1", "profiles": profiles}))


def other_value(schema: Json, value: Any) -> Any:
    """Return another value that the schema allows."""
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if value + 1 <= schema.get("maximum", value + 1) else value / 2
    return f"{value}x" if isinstance(value, str) else value


def changed(path: Path, value: Any) -> Json:
    spec: Any = copy.deepcopy(FULL)
    if callable(value):
        value(spec)
        whole: Json = spec
        return whole
    place = spec
    for step in path[:-1]:
        place = place[step]
    beside: Json = {}
    if isinstance(value, tuple):
        value, beside = value
    for name, new in ({path[-1]: value} | beside).items():
        if new is None:
            del place[name]
        else:
            place[name] = new
    result: Json = spec
    return result


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


LEAVES = [
    (dotted(path), path, schema, value)
    for path, schema, value in nodes(schema_of_spec(), FULL)
    if not isinstance(value, dict | list)
]


@pytest.fixture
def jobs(settings: Settings) -> Callable[[Json], str]:
    """Return a function from a spec to all that its Jobs are."""

    def build(spec: Json) -> str:
        resource = Resource("team", "sr", "uid-1", 3, "7", spec, {})
        request = read_request(replace(resource, spec=spec), settings)
        works = [prepare_work(request.spec, request.output, settings)]
        works += [
            measure_work(request.spec, request.output, settings, target=target, prepared=PREPARED)
            for target in request.targets
        ]
        form = PublishedForm(
            target="l4", variant="int8", artifact=PREPARED, uri="s3://a/b", result=PREPARED
        )
        assert request.spec.publish is not None
        order = Order(request.spec.publish, (form,), "")
        works.append(publish_work(order, request, resource, settings))
        built = [build_job(work, resource, settings) for work in works]
        for job in built:
            # Names are digests of the rest: they must not be the only difference.
            del job["metadata"]["name"]
        return json.dumps(built, sort_keys=True)

    return build


@pytest.mark.parametrize(
    ("name", "path", "schema", "value"), LEAVES, ids=[leaf[0] for leaf in LEAVES]
)
def test_another_value_makes_another_job(
    jobs: Callable[[Json], str], name: str, path: Path, schema: Json, value: Any
) -> None:
    spec = changed(path, OTHER[name] if name in OTHER else other_value(schema, value))
    assert spec != FULL
    if name in DECIDED:
        assert jobs(spec) == jobs(FULL)
        return
    assert jobs(spec) != jobs(FULL)


def test_suspend_is_seen() -> None:
    resource = Resource("team", "sr", "uid-1", 3, "7", FULL, {})
    assert is_suspended(resource)
    running = changed(("execution", "suspend"), False)
    assert not is_suspended(replace(resource, spec=running))
