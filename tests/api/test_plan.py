"""Plans: what a Job is told survives the environment variable."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.enums import ModelFormat, Runtime
from mopt_api.jobs.plan import (
    PLAN_ADAPTER,
    Credentials,
    baseline_variant,
    benchmark_points,
    measure_plan,
    objective_point,
    prepare_plan,
)
from mopt_api.jobs.stored_plans import report_plan, verify_plan
from mopt_api.spec import ModelOptimizationSpec


@pytest.mark.parametrize("data", [True, False])
def test_plans_survive_the_wire(spec: dict[str, Any], data: bool) -> None:
    if not data:
        spec.update(data={}, quality=[])
    parsed = ModelOptimizationSpec.model_validate(spec)
    for plan in (
        prepare_plan(parsed, "s3://out/x"),
        measure_plan(parsed, target="t", prepared="sha256:" + "1" * 64, output_uri="s3://out/x"),
        report_plan(parsed, target="t", result="sha256:" + "1" * 64, output_uri="s3://out/x"),
        verify_plan(
            parsed, target="t", result="sha256:" + "1" * 64, forms=["a"], output_uri="s3://out/x"
        ),
    ):
        assert PLAN_ADAPTER.validate_python(plan.to_api()) == plan


def test_plans_name_no_secret(spec: dict[str, Any]) -> None:
    spec["data"]["evaluation"]["credentialsSecretRef"] = {"name": "hidden"}
    spec["output"] = {"uri": "s3://out/x", "credentialsSecretRef": {"name": "hidden"}}
    parsed = ModelOptimizationSpec.model_validate(spec)
    plan = measure_plan(parsed, target="t", prepared="sha256:" + "1" * 64, output_uri="s3://out/x")
    assert "hidden" not in plan.model_dump_json()


def test_references_go_to_the_measurement(spec: dict[str, Any]) -> None:
    truth = {"uri": "s3://data/truth/", "images": {"color": "Gray"}}
    spec["data"]["evaluation"]["references"] = truth
    parsed = ModelOptimizationSpec.model_validate(spec)
    plan = measure_plan(parsed, target="t", prepared="sha256:" + "1" * 64, output_uri="s3://out/x")
    assert plan.references is not None
    assert (plan.references.uri, plan.references.images.color) == ("s3://data/truth/", "Gray")
    assert PLAN_ADAPTER.validate_python(plan.to_api()) == plan
    assert "truth" not in prepare_plan(parsed, "s3://out/x").model_dump_json()


def test_evaluation_data_is_what_a_model_is_tried_on_where_there_is_no_other(
    spec: dict[str, Any],
) -> None:
    spec["data"]["evaluation"] = {"uri": "s3://data/evaluation/", "samples": 7}
    plan = prepare_plan(ModelOptimizationSpec.model_validate(spec), "s3://out/x")
    assert plan.calibration is None
    assert plan.data == plan.evaluation
    assert plan.data is not None
    assert (plan.data.uri, plan.data.samples) == ("s3://data/evaluation/", 7)
    spec["data"]["calibration"] = {"uri": "s3://data/calibration/"}
    plan = prepare_plan(ModelOptimizationSpec.model_validate(spec), "s3://out/x")
    assert plan.evaluation is None
    assert plan.data == plan.calibration


def test_gates_by_ground_truth_do_not_shape_what_prepare_makes(spec: dict[str, Any]) -> None:
    spec["data"]["calibration"] = {"uri": "s3://data/calibration/"}
    by_fp32 = prepare_plan(ModelOptimizationSpec.model_validate(spec), "s3://out/x")
    spec["data"]["evaluation"]["references"] = {"uri": "s3://data/truth/"}
    by_truth = prepare_plan(ModelOptimizationSpec.model_validate(spec), "s3://out/x")
    assert by_fp32.quality
    assert by_truth.quality == []


@pytest.mark.parametrize(
    ("calibrated", "quantization", "shaped"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"fallback": "Off"}, False),
        (True, {"mode": "Dynamic"}, False),
        (True, {"method": "NNCF"}, True),
        (True, {"method": "NNCF", "fallback": "Off"}, False),
    ],
)
def test_gates_shape_what_prepare_makes_only_where_layers_fall_back(
    spec: dict[str, Any], calibrated: bool, quantization: dict[str, Any], shaped: bool
) -> None:
    if calibrated:
        spec["data"]["calibration"] = {"uri": "s3://data/calibration/"}
    runtime = "OpenVINO" if "method" in quantization else "ONNXRuntime"
    int8 = {"name": "b", "runtime": runtime, "precision": "INT8"}
    spec["variants"] = [
        {"name": "a", "runtime": "ONNXRuntime", "precision": "FP32"},
        {"name": "c", "runtime": "PyTorch", "precision": "INT8"},
        int8 | {"quantization": quantization},
    ]
    parsed = ModelOptimizationSpec.model_validate(spec)
    assert prepare_plan(parsed, "s3://out/x").quality == (parsed.quality if shaped else [])


@pytest.mark.parametrize(
    ("model_format", "runtime"),
    [
        (ModelFormat.ONNX, Runtime.ONNX_RUNTIME),
        (ModelFormat.EXPORTED_PROGRAM, Runtime.PYTORCH),
        (ModelFormat.TORCH_SCRIPT, Runtime.PYTORCH),
    ],
)
def test_baseline_is_the_model_as_it_came(model_format: ModelFormat, runtime: Runtime) -> None:
    assert baseline_variant(model_format).runtime is runtime


def test_points_fill_in_opt(spec: dict[str, Any]) -> None:
    parsed = ModelOptimizationSpec.model_validate(spec)
    (point,) = benchmark_points(parsed.benchmark, parsed.dimensions)
    assert point.dimensions == {"batch": 1, "height": 64, "width": 64}
    assert objective_point(parsed.objective, parsed.benchmark) == "tile"


def test_without_points_there_is_one_at_opt(spec: dict[str, Any]) -> None:
    del spec["benchmark"], spec["objective"]
    parsed = ModelOptimizationSpec.model_validate(spec)
    (point,) = benchmark_points(parsed.benchmark, parsed.dimensions)
    assert point.name == objective_point(parsed.objective, parsed.benchmark) == "opt"


def test_credential_variables() -> None:
    assert Credentials.MODEL.variable("AWS_REGION") == "MOPT_MODEL_AWS_REGION"
    assert Credentials.OUTPUT.variable("ca.crt") == "MOPT_OUTPUT_CA_CRT"
