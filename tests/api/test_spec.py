"""Every rule of the spec, with objects it accepts and refuses; the API server tries the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from mopt_api.spec import ModelOptimizationSpec

Change = Callable[[dict[str, Any]], Any]


def test_the_smallest_spec_has_visible_defaults() -> None:
    parsed = ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m.onnx", "sha256": "f" * 64, "format": "ONNX"},
            "inputs": [{"name": "x", "shape": [1, 3]}],
        }
    )
    assert parsed.objective.minimum_speedup == 1.0
    assert parsed.objective.on_no_winner == "KeepBaseline"
    assert parsed.execution.backoff_limit == 2
    assert parsed.variants is None


def test_wire_form_round_trips(spec: dict[str, Any]) -> None:
    parsed = ModelOptimizationSpec.model_validate(spec)
    assert ModelOptimizationSpec.model_validate(parsed.to_api()) == parsed


INT8 = {"name": "a", "runtime": "ONNXRuntime", "precision": "INT8"}


@pytest.mark.parametrize(
    "quantization",
    [
        {"mode": "Dynamic", "exclude": ["Conv", "/head/MatMul"]},
        # What the API server makes of it.
        {"mode": "Dynamic", "calibrator": "MinMax", "fallback": "Auto"},
        {"calibrator": "Entropy", "fallback": "Off"},
    ],
)
def test_quantization_is_accepted(spec: dict[str, Any], quantization: dict[str, Any]) -> None:
    spec["variants"] = [INT8 | {"quantization": quantization}]
    (variant,) = ModelOptimizationSpec.model_validate(spec).variants or []
    assert variant.quantization
    assert quantization.items() <= variant.quantization.to_api().items()


REFUSED: dict[str, tuple[Change, str]] = {
    "dimension not declared": (
        lambda s: s["dimensions"].pop("width"),
        "every name in an input's shape must be declared under dimensions",
    ),
    "opt above max": (
        lambda s: s["dimensions"]["batch"].update(opt=9),
        "min <= opt <= max must hold",
    ),
    "not a multiple": (
        lambda s: s["dimensions"]["height"].update(opt=65),
        "must be multiples of multipleOf",
    ),
    "gate without data": (
        lambda s: s["data"].pop("evaluation"),
        "quality needs data.evaluation",
    ),
    "point outside the range": (
        lambda s: s["benchmark"]["points"][0]["dimensions"].update(batch=9),
        "must be declared and lie between min and max",
    ),
    "point with an unknown dimension": (
        lambda s: s["benchmark"]["points"][0]["dimensions"].update(depth=1),
        "must be declared and lie between min and max",
    ),
    "objective at an unknown point": (
        lambda s: s["objective"].update(point="other"),
        "objective.point must name one of benchmark.points",
    ),
    "quantization without INT8": (
        lambda s: s.update(
            variants=[{"name": "a", "runtime": "OpenVINO", "precision": "BF16", "quantization": {}}]
        ),
        "quantization belongs to precision INT8",
    ),
    "unsupported combination": (
        lambda s: s.update(variants=[{"name": "a", "runtime": "ONNXRuntime", "precision": "BF16"}]),
        "supported: PyTorch FP32",
    ),
    "dynamic INT8 with a calibrator": (
        lambda s: s.update(
            variants=[
                INT8 | {"quantization": {"mode": "Dynamic", "calibrator": "Percentile"}},
            ]
        ),
        "calibrator belongs to mode Static",
    ),
    "dynamic INT8 in OpenVINO": (
        lambda s: s.update(
            variants=[INT8 | {"runtime": "OpenVINO", "quantization": {"mode": "Dynamic"}}]
        ),
        "quantization mode Dynamic needs runtime ONNXRuntime",
    ),
    "exclusion without a name": (
        lambda s: s.update(variants=[INT8 | {"quantization": {"exclude": [""]}}]),
        "at least 1 character",
    ),
    "variant named baseline": (
        lambda s: s.update(
            variants=[{"name": "baseline", "runtime": "OpenVINO", "precision": "FP32"}]
        ),
        "the name baseline is taken",
    ),
    "two variants of one name": (
        lambda s: s.update(
            variants=[{"name": "a", "runtime": "OpenVINO", "precision": "FP32"}] * 2
        ),
        "Duplicate",
    ),
    "two mean values": (
        lambda s: s["data"]["evaluation"].update(images={"mean": [0.5, 0.5]}),
        "mean needs no value or three",
    ),
    "two std values": (
        lambda s: s["data"]["evaluation"].update(images={"std": [0.5, 0.5]}),
        "std needs no value or three",
    ),
    "digest too short": (
        lambda s: s["model"].update(sha256="abc"),
        "at least 64 characters",
    ),
    "uri of another scheme": (
        lambda s: s["model"].update(uri="file:///etc/passwd"),
        "match pattern",
    ),
    "misspelt field": (lambda s: s.update(qualty=[]), "Extra inputs are not permitted"),
    "thirteen variants": (
        lambda s: s.update(
            variants=[
                {"name": f"v{i}", "runtime": "OpenVINO", "precision": "FP32"} for i in range(13)
            ]
        ),
        "at most 12",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, spec: dict[str, Any]) -> None:
    change, message = REFUSED[case]
    ModelOptimizationSpec.model_validate(copy.deepcopy(spec))
    change(spec)
    with pytest.raises(ValidationError, match=message):
        ModelOptimizationSpec.model_validate(spec)
