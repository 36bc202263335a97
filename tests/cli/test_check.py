"""`mopt check`: the rules, and what would be tried on a machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import Mopt

from mopt_api.enums import Runtime
from mopt_api.figures import VariantReason
from mopt_api.spec import ModelOptimizationSpec
from mopt_cli.field_problems import problems
from mopt_cli.forecast import Outlook, forecasts
from mopt_cli.normalization import normalization_warnings

MODEL = {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"}
BASE: dict[str, Any] = {"model": MODEL, "inputs": [{"name": "x", "shape": [1, 3]}]}
DATA = {"calibration": {"uri": "s3://data/calibration/"}}


def outlooks(
    features: list[str],
    installed: tuple[Runtime, ...] = tuple(Runtime),
    compiler: str | None = "12.2.0",
    **fields: Any,
) -> dict[str, tuple[Outlook, VariantReason | None]]:
    spec = ModelOptimizationSpec.model_validate(BASE | fields)
    found = forecasts(spec, features, installed, compiler)
    return {p.variant.name: (p.outlook, p.reason) for p in found}


def test_auto_tries_what_may_win_here_and_leaves_the_rest_out() -> None:
    found = outlooks(["avx512_bf16"], data=DATA)
    assert set(found.values()) == {(Outlook.TRIED, None), (Outlook.LEFT_OUT, None)}
    assert found["openvino-bf16"] == (Outlook.TRIED, None)
    assert found["onnxruntime-fp16"] == (Outlook.LEFT_OUT, None)


def test_auto_gives_a_reason_for_each() -> None:
    spec = ModelOptimizationSpec.model_validate(BASE)
    found = forecasts(spec, ["avx2"], tuple(Runtime), None)
    assert len(found) > 5
    assert [p.variant.name for p in found if not p.message] == []


def test_static_int8_needs_calibration_data() -> None:
    found = outlooks(["avx512_bf16"])
    skipped = {n for n, (o, r) in found.items() if r is VariantReason.NO_CALIBRATION_DATA}
    alone = {"onnxruntime-int8-weights", "openvino-int8-weights"}
    others = {"onnxruntime-int8-dynamic", "pytorch-int8", *alone}
    assert skipped == {n for n in found if "int8" in n} - others
    assert {"onnxruntime-int8", "openvino-int8-nncf"} <= skipped
    assert found["openvino-fp32"] == (Outlook.TRIED, None)


@pytest.mark.parametrize(
    ("metric", "tried"),
    [
        ("LatencyP50", set()),
        ("SizeBytes", {"onnxruntime-int8-weights", "onnxruntime-int4-weights"}),
        ("PeakMemory", {"onnxruntime-int4-weights"}),
    ],
)
def test_weights_alone_are_for_bytes_and_memory(metric: str, tried: set[str]) -> None:
    found = outlooks(["avx2"], objective={"metric": metric})
    of_openvino = {"openvino-int8-weights", "openvino-int4-weights"} if tried else set()
    weights = {name for name in found if name.endswith("-weights")}
    assert {n for n in weights if found[n] == (Outlook.TRIED, None)} == tried | of_openvino
    assert {found[n] for n in weights - tried - of_openvino} <= {(Outlook.LEFT_OUT, None)}


def test_without_vnni_the_reason_names_seven_bits() -> None:
    spec = ModelOptimizationSpec.model_validate(BASE | {"data": DATA})
    for features, said in ((["avx2"], True), (["avx2", "avx_vnni"], False)):
        found = {f.variant.name: f.message for f in forecasts(spec, features, tuple(Runtime), None)}
        assert ("weights in 7 bits" in found["onnxruntime-int8"]) is said
        assert "7 bits" not in found["onnxruntime-fp32"]


def test_dynamic_int8_needs_none() -> None:
    dynamic = {
        "name": "dynamic",
        "runtime": "ONNXRuntime",
        "precision": "INT8",
        "quantization": {"mode": "Dynamic"},
    }
    assert outlooks([], variants=[dynamic]) == {"dynamic": (Outlook.TRIED, None)}


def test_what_pytorch_compiles_needs_a_compiler() -> None:
    compiled = {"name": "c", "runtime": "PyTorch", "precision": "FP32", "torchMode": "Compiled"}
    for compiler, outlook in (
        ("12.2.0", (Outlook.TRIED, None)),
        (None, (Outlook.SKIPPED, VariantReason.NO_COMPILER)),
    ):
        assert outlooks([], compiler=compiler, variants=[compiled]) == {"c": outlook}


def test_bf16_needs_a_cpu_that_has_it() -> None:
    assert outlooks(["avx2"])["openvino-bf16"] == (
        Outlook.SKIPPED,
        VariantReason.NO_NATIVE_BF16,
    )


def test_runtime_that_is_not_installed_is_told() -> None:
    found = outlooks([], installed=(Runtime.ONNX_RUNTIME,))
    assert found["openvino-fp32"] == (Outlook.NOT_INSTALLED, None)
    assert found["onnxruntime-fp32"] == (Outlook.TRIED, None)


def test_valid_resource_is_told_with_its_variants(mopt: Mopt, write: Callable[..., Path]) -> None:
    done = mopt("check", write())
    assert done.returncode == 0
    assert "resource.yaml: valid" in done.stdout
    assert "NoCalibrationData" in done.stdout


def test_broken_rules_are_named_by_their_fields(mopt: Mopt, write: Callable[..., Path]) -> None:
    done = mopt("check", write(dimensions={"batch": {"min": 4, "opt": 1, "max": 2}}))
    assert done.returncode == 1
    assert "spec.dimensions.batch: min <= opt <= max must hold" in done.stderr


def test_json_holds_the_same(mopt: Mopt, write: Callable[..., Path]) -> None:
    found = json.loads(mopt("check", write(), "-o", "json").stdout)
    assert (found["valid"], found["problems"]) == (True, [])
    reasons = {v["name"]: v["reason"] for v in found["variants"]}
    assert reasons["openvino-int8"] == "NoCalibrationData"


def test_json_of_a_broken_resource_names_the_problem(
    mopt: Mopt, write: Callable[..., Path]
) -> None:
    done = mopt("check", write(inputs=None), "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == ["spec.inputs: Field required"]


GATE = {"metric": "PSNR", "minimum": 40}
EVALUATION = {"evaluation": {"uri": "s3://data/evaluation/"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": [GATE | {"data_range": 255}]}, "quality.0.data_range: unknown field: write"),
        ({"quality": [GATE | {"minimum": "40"}]}, "quality.0.minimum: Input should be a valid num"),
        ({"dimensions": {"batch": {"min": 1, "opt": 1, "max": "8"}}}, "dimensions.batch.max: "),
        ({"benchmark": {"threads": True}}, "benchmark.threads: Input should be a valid integer"),
        ({"inputs": [{"name": "x", "shape": [-1, 3]}]}, "inputs.0.shape.0: write a number from 1"),
        ({"inputs": [{"name": "x", "shape": [0, 3]}]}, "inputs.0.shape.0: write a number from 1"),
        ({"model": MODEL | {"sha256": "sha256:" + "0" * 64}}, "prints, without sha256:"),
        ({"model": MODEL | {"sha256": "abc"}}, "model.sha256: write the 64 lowercase hex digits"),
        ({"model": MODEL | {"uri": "http://a.b/m.onnx"}}, "model.uri: write s3://BUCKET/KEY"),
        ({"objectiv": {}}, "spec.objectiv: unknown field"),
    ],
)
def test_check_is_as_strict_as_the_api_server(changes: dict[str, Any], message: str) -> None:
    spec = BASE | {"data": EVALUATION} | changes
    (found,) = problems(spec)
    assert message in found
    assert "pattern" not in found


def test_every_field_is_named_once() -> None:
    """Not once for each kind of value that it could be."""
    broken = {
        "inputs": [{"name": "x", "shape": [-1, 0, "height"]}],
        "model": {"uri": "s3://models/k"},
    }
    assert [p.partition(":")[0] for p in problems(broken)] == [
        *("spec.model.sha256", "spec.model.format"),
        *("spec.inputs.0.shape.0", "spec.inputs.0.shape.1"),
    ]


def _imaged(**images: Any) -> ModelOptimizationSpec:
    data = {"calibration": {"uri": "s3://data/calibration/", "images": images}}
    return ModelOptimizationSpec.model_validate(BASE | {"data": data})


@pytest.mark.parametrize(
    ("images", "span"),
    [
        ({"mean": [123.675, 116.28, 103.53]}, "-123.67..-102.53"),
        ({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}, "-2.12..-1.79"),
        (
            {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 1},
            "-2.12..1136.36",
        ),
        ({"scale": 1 / 255 / 255}, "0.00..0.00"),
    ],
)
def test_slip_in_normalization_is_warned_of(images: dict[str, Any], span: str) -> None:
    (warning,) = normalization_warnings(_imaged(**images))
    assert warning.startswith("spec.data.calibration.images: black to white become ")
    assert span in warning


@pytest.mark.parametrize(
    "images",
    [
        {},
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"mean": [0.5], "std": [0.5], "color": "Gray"},
        {"scale": 1, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        {"scale": 1, "color": "BGR", "mean": [104.0, 117.0, 123.0]},
        {"scale": 1},
    ],
)
def test_usual_normalization_is_not(images: dict[str, Any]) -> None:
    assert normalization_warnings(_imaged(**images)) == []


def test_check_prints_warnings_and_passes(mopt: Mopt, write: Callable[..., Path]) -> None:
    images = {"mean": [123.675, 116.28, 103.53]}
    done = mopt("check", write(data={"calibration": {"uri": "s3://data/c/", "images": images}}))
    assert done.returncode == 0
    assert "warning: spec.data.calibration.images: black to white become" in done.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_field_that_is_there_twice_is_refused(
    mopt: Mopt, write: Callable[..., Path], command: str
) -> None:
    path = write(data=EVALUATION, quality=[GATE])
    again = "  quality:\n    - {metric: Cosine, minimum: 0.9}\n"
    path.write_text(path.read_text() + again)
    done = mopt(command, path)
    assert done.returncode == 1
    assert "quality is there twice" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "is not a ModelOptimization"),
        ("{", "is not YAML"),
        ("kind: ModelOptimization\napiVersion: v1\n", "apiVersion 'v1' is not"),
    ],
)
def test_something_else_is_refused_from_standard_input(mopt: Mopt, text: str, message: str) -> None:
    done = mopt("check", "-", stdin=text)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.optimizer
def test_reasons_are_those_of_the_stages() -> None:
    """What check foretells is what prepare and measure do."""
    from mopt_api.enums import ModelFormat, TargetKind
    from mopt_api.jobs.plan import prepare_plan
    from mopt_optimizer.forms.form import form_of
    from mopt_optimizer.stages.measure.field import cannot_run
    from mopt_optimizer.stages.prepare.assignment import assign
    from mopt_optimizer.stages.prepare.messages import Quantized

    spec = ModelOptimizationSpec.model_validate(BASE)
    variants = prepare_plan(spec, "").variants
    assert any(form.needs_samples for v in variants if (form := form_of(v)))
    made = [
        Quantized(name=form.name(), file="model.onnx")
        for v in variants
        if (form := form_of(v)) and not form.needs_samples
    ]
    found = assign(variants, ModelFormat.ONNX, made, calibrated=False).by_kind[TargetKind.CPU]
    expected = {s.name: s.reason for s in found.skipped}
    for variant in variants:
        result = cannot_run(variant, ["avx2"], "12.2.0")
        # What prepare could not make is not looked at again.
        if result and variant.name not in expected:
            expected[variant.name] = result.reason  # type: ignore[assignment]
    by_auto = outlooks(["avx2"])
    by_hand = outlooks(["avx2"], variants=[v.to_api() for v in variants])
    for told in (by_auto, by_hand):
        assert {n: r for n, (o, r) in told.items() if o is Outlook.SKIPPED} == expected
