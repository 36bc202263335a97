"""Every rule of the spec, with objects it accepts and refuses; the API server tries the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mopt_api.enums import DType
from mopt_api.spec import ModelOptimizationSpec

ROOT = Path(__file__).parents[2]
API_DOCUMENT = ROOT / "docs" / "api.md"

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
        {"fallback": "Auto", "searchBudgetSeconds": 14400},
        {"mode": "WeightOnly"},
        {"mode": "WeightOnly", "weightBits": 4, "calibrator": "MinMax", "perChannel": True},
    ],
)
def test_quantization_is_accepted(spec: dict[str, Any], quantization: dict[str, Any]) -> None:
    spec["variants"] = [INT8 | {"quantization": quantization}]
    (variant,) = ModelOptimizationSpec.model_validate(spec).variants or []
    assert variant.quantization
    assert quantization.items() <= variant.quantization.to_api().items()


def test_the_documented_ground_truth_is_accepted(spec: dict[str, Any]) -> None:
    section = API_DOCUMENT.read_text().split("## Ground truth")[1]
    written = yaml.safe_load(section.split("```yaml")[1].split("```")[0])
    parsed = ModelOptimizationSpec.model_validate(spec | written)
    assert parsed.data.evaluation is not None
    assert parsed.data.evaluation.references is not None


def test_the_documented_sums_are_accepted(spec: dict[str, Any]) -> None:
    section = API_DOCUMENT.read_text().split("## Dimensions that are sums")[1]
    written = yaml.safe_load(section.split("```yaml")[1].split("```")[0])
    spec["benchmark"]["points"] = []
    spec["objective"].pop("point", None)
    total = ModelOptimizationSpec.model_validate(spec | written).every_dimension["total"]
    assert (total.min, total.opt, total.max) == (4, 65, 576)


def test_the_documented_slices_are_accepted(spec: dict[str, Any]) -> None:
    section = API_DOCUMENT.read_text().split("## Outputs and parts")[1]
    written = yaml.safe_load(section.split("```yaml")[1].split("```")[0])
    first, *_ = ModelOptimizationSpec.model_validate(spec | written).quality
    assert first.part == ("predictions", "boxes")
    assert first.figure == "Cosine of predictions boxes, axis -1, 0:4"


def test_calibration_data_takes_no_references(spec: dict[str, Any]) -> None:
    spec["data"]["calibration"] = {"uri": "s3://data/a/", "references": {"uri": "s3://data/b/"}}
    with pytest.raises(ValidationError, match=r"data\.calibration\.references"):
        ModelOptimizationSpec.model_validate(spec)


REFUSED: dict[str, tuple[Change, str]] = {
    "dimension not declared": (
        lambda s: s["dimensions"].pop("width"),
        "every name in an input's shape must be declared under dimensions or derivedDimensions",
    ),
    "a sum of a name that is not declared": (
        lambda s: s.update(derivedDimensions={"total": {"sumOf": ["batch", "past"]}}),
        "every name in sumOf must be declared under dimensions",
    ),
    "a sum of a sum": (
        lambda s: s.update(
            derivedDimensions={
                "total": {"sumOf": ["batch"], "plus": 1},
                "more": {"sumOf": ["total"], "plus": 1},
            }
        ),
        "every name in sumOf must be declared under dimensions",
    ),
    "a name for a dimension and a sum": (
        lambda s: s.update(derivedDimensions={"batch": {"sumOf": ["height"], "plus": 1}}),
        "not under both",
    ),
    "a sum that is too large": (
        lambda s: s.update(derivedDimensions={"total": {"sumOf": ["batch"], "plus": 65536}}),
        "a derived dimension must be at most 65536 with its terms at max",
    ),
    "an input that is too large by a sum": (
        lambda s: s.update(
            inputs=[{"name": "x", "shape": ["total", 2**20]}],
            derivedDimensions={"total": {"sumOf": ["batch", "batch"], "plus": 1023}},
        ),
        "an input has more than 1073741824 values with its dimensions at opt",
    ),
    "a point that sets a sum": (
        lambda s: s.update(
            derivedDimensions={"total": {"sumOf": ["batch"], "plus": 1}},
            benchmark={"points": [{"name": "p", "dimensions": {"total": 2}}]},
        ),
        "must be declared and lie between min and max",
    ),
    "opt above max": (
        lambda s: s["dimensions"]["batch"].update(opt=9),
        "min <= opt <= max must hold",
    ),
    "not a multiple": (
        lambda s: s["dimensions"]["height"].update(opt=65),
        "must be multiples of multipleOf",
    ),
    "references among the samples": (
        lambda s: s["data"]["evaluation"].update(references={"uri": "s3://data/evaluation/truth"}),
        "references.uri and uri must be separate folders, neither inside the other",
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
        "supported: PyTorch and TensorRT FP32",
    ),
    "dynamic INT8 with a calibrator": (
        lambda s: s.update(
            variants=[
                INT8 | {"quantization": {"mode": "Dynamic", "calibrator": "Percentile"}},
            ]
        ),
        "calibrator belongs to mode Static",
    ),
    "no search, and a budget for it": (
        lambda s: s.update(
            variants=[INT8 | {"quantization": {"fallback": "Off", "searchBudgetSeconds": 60}}]
        ),
        "searchBudgetSeconds is for the search of mode Static and fallback Auto",
    ),
    "no time to search": (
        lambda s: s.update(variants=[INT8 | {"quantization": {"searchBudgetSeconds": 0}}]),
        "greater than or equal to 1",
    ),
    "dynamic INT8 in OpenVINO": (
        lambda s: s.update(
            variants=[INT8 | {"runtime": "OpenVINO", "quantization": {"mode": "Dynamic"}}]
        ),
        "quantization mode Dynamic needs runtime ONNXRuntime",
    ),
    "weights alone in PyTorch": (
        lambda s: s.update(
            variants=[INT8 | {"runtime": "PyTorch", "quantization": {"mode": "WeightOnly"}}]
        ),
        "quantization mode WeightOnly needs runtime ONNXRuntime or OpenVINO",
    ),
    "weights alone with a calibrator": (
        lambda s: s.update(
            variants=[INT8 | {"quantization": {"mode": "WeightOnly", "calibrator": "MSE"}}]
        ),
        "calibrator belongs to mode Static",
    ),
    "bits of weights beside activations": (
        lambda s: s.update(variants=[INT8 | {"quantization": {"weightBits": 4}}]),
        "weightBits belongs to mode WeightOnly",
    ),
    "weights in 5 bits": (
        lambda s: s.update(
            variants=[INT8 | {"quantization": {"mode": "WeightOnly", "weightBits": 5}}]
        ),
        "4 or 8",
    ),
    "exclusion without a name": (
        lambda s: s.update(variants=[INT8 | {"quantization": {"exclude": [""]}}]),
        "at least 1 character",
    ),
    "variant named baseline": (
        lambda s: s.update(
            variants=[{"name": "baseline", "runtime": "OpenVINO", "precision": "FP32"}]
        ),
        "the name baseline is reserved",
    ),
    "two variants of one name": (
        lambda s: s.update(
            variants=[{"name": "a", "runtime": "OpenVINO", "precision": "FP32"}] * 2
        ),
        "Duplicate",
    ),
    "two mean values": (
        lambda s: s["data"]["evaluation"].update(images={"mean": [0.5, 0.5]}),
        "mean must be empty or have three values",
    ),
    "two std values": (
        lambda s: s["data"]["evaluation"].update(images={"std": [0.5, 0.5]}),
        "std must be empty or have three values",
    ),
    "three mean values of Gray": (
        lambda s: s["data"]["evaluation"].update(images={"mean": [0.5] * 3, "color": "Gray"}),
        "with color Gray one",
    ),
    "crop larger than resize": (
        lambda s: s["data"]["evaluation"].update(images={"resize": [64, 64], "crop": [32, 65]}),
        "crop must not be larger than resize",
    ),
    "resize to more pixels than any image has": (
        lambda s: s["data"]["evaluation"].update(images={"resize": [65536, 65536]}),
        "resize must have at most 33554432 pixels",
    ),
    "crop to more pixels than any image has": (
        lambda s: s["data"]["evaluation"].update(images={"crop": [5793, 5793]}),
        "crop must have at most 33554432 pixels",
    ),
    "an input of numbers alone that is too large": (
        lambda s: s.update(inputs=[{"name": "x", "shape": [2**15, 2**15, 2]}]),
        "an input has more than 1073741824 values with its dimensions at opt",
    ),
    "a fixed size below one": (
        lambda s: s.update(inputs=[{"name": "x", "shape": [0]}]),
        "greater than or equal to 1",
    ),
    "a fixed size as text": (
        lambda s: s.update(inputs=[{"name": "x", "shape": ["3"]}]),
        "inputs.0.shape.0",
    ),
    "an escape sequence in a uri": (
        lambda s: s["model"].update(uri="s3://models/\x1b[2J"),
        "model.uri",
    ),
    "a model on the web with what grants access": (
        lambda s: s["model"].update(uri="https://host/net.onnx?X-Amz-Signature=1"),
        "model.uri",
    ),
    "a model on the web with a password": (
        lambda s: s["model"].update(uri="https://user:word@host/net.onnx"),
        "model.uri",
    ),
    "a model by HTTP without TLS": (
        lambda s: s["model"].update(uri="http://host/net.onnx"),
        "model.uri",
    ),
    "a model in a registry by no tag": (
        lambda s: s["model"].update(uri="oci://registry.test/sr"),
        "model.uri",
    ),
    "data in a registry": (
        lambda s: s["data"]["evaluation"].update(uri="oci://registry.test/sr:v1"),
        "data.evaluation.uri",
    ),
    "a way out of a claim": (
        lambda s: s["model"].update(uri="pvc://models/a/../../secret"),
        "no part of a path in a claim",
    ),
    "another way out of a claim": (
        lambda s: s["data"]["evaluation"].update(uri="pvc://data/.."),
        "no part of a path in a claim",
    ),
    "data on the web, where nothing can be listed": (
        lambda s: s["data"]["evaluation"].update(uri="https://host/images/"),
        "data on a web server, or in an archive, needs sha256",
    ),
    "a folder on the web with a digest": (
        lambda s: s["data"]["evaluation"].update(uri="https://host/images/", sha256="a" * 64),
        "with sha256, uri is one file, a .zip",
    ),
    "letters in reverse in a uri": (
        lambda s: s["model"].update(uri="s3://models/\u202e2tp.ledom"),
        "model.uri",
    ),
    "gate without a bound": (
        lambda s: s.update(quality=[{"metric": "PSNR"}]),
        "either minimum or maximum",
    ),
    "gate with both bounds": (
        lambda s: s.update(quality=[{"metric": "MaxAbsError", "minimum": 0, "maximum": 1}]),
        "either minimum or maximum",
    ),
    "maximum error with a minimum": (
        lambda s: s.update(quality=[{"metric": "MaxAbsError", "minimum": 1}]),
        "MaxAbsError takes maximum",
    ),
    "PSNR with a maximum": (
        lambda s: s.update(quality=[{"metric": "PSNR", "maximum": 1}]),
        "every other metric minimum",
    ),
    "cosine above 1": (
        lambda s: s.update(quality=[{"metric": "Cosine", "minimum": 1.5}]),
        "SSIM and Cosine lies from -1 to 1",
    ),
    "share of predictions in percent": (
        lambda s: s.update(quality=[{"metric": "Top1Agreement", "minimum": 99}]),
        "a share from 0 to 1",
    ),
    "two ranges for one metric": (
        lambda s: s.update(
            quality=[
                {"metric": "PSNR", "minimum": 40},
                {"metric": "PSNR", "minimum": 40, "aggregate": "Mean", "dataRange": 255},
            ]
        ),
        "two gates on one metric need the same dataRange",
    ),
    "two gates on one part": (
        lambda s: s.update(quality=[{"metric": "Cosine", "minimum": 0.9, "output": "boxes"}] * 2),
        "Duplicate value in quality",
    ),
    "a slice that ends where it begins": (
        lambda s: s.update(
            quality=[
                {"metric": "Cosine", "minimum": 0.9, "slice": {"name": "scores", "range": [4, 4]}}
            ]
        ),
        "the second must be larger",
    ),
    "one name for two slices": (
        lambda s: s.update(
            quality=[
                {"metric": m, "minimum": 0.9, "slice": {"name": "scores", "range": [0, end]}}
                for m, end in (("Cosine", 4), ("SQNR", 5))
            ]
        ),
        "two slices of one name need the same axis and range",
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


@pytest.mark.parametrize(
    "change",
    [
        {"quality": [{"metric": "MaxAbsError", "maximum": 0.01}]},
        {"quality": [{"metric": "SQNR", "minimum": -200}, {"metric": "Cosine", "minimum": -1}]},
        {"quality": [{"metric": "Top1Agreement", "minimum": 1}]},
        {
            "quality": [
                {"metric": "PSNR", "minimum": 40, "dataRange": 255},
                {"metric": "PSNR", "minimum": 45, "aggregate": "Mean", "dataRange": 255},
                {"metric": "SSIM", "minimum": 0.9},
            ]
        },
        {"inputs": [{"name": n.value, "dtype": n.value, "shape": [1]} for n in DType]},
        {"inputs": [{"name": "x", "shape": []}]},
        {
            "inputs": [{"name": "x", "shape": ["batch", "total"]}],
            "derivedDimensions": {"total": {"sumOf": ["height", "width"], "plus": 1}},
        },
    ],
    ids=str,
)
def test_accepted(change: dict[str, Any], spec: dict[str, Any]) -> None:
    parsed = ModelOptimizationSpec.model_validate(spec | change)
    assert ModelOptimizationSpec.model_validate(parsed.to_api()) == parsed


@pytest.mark.parametrize(
    "transform",
    [
        {"crop": [64, 64]},
        {"crop": [32, 64], "resize": [32, 64], "color": "BGR", "mean": [1, 2, 3]},
        {"color": "Gray", "mean": [0.5], "std": [0.25], "layout": "NHWC"},
    ],
    ids=str,
)
def test_accepted_transforms(transform: dict[str, Any], spec: dict[str, Any]) -> None:
    spec["data"]["evaluation"].update(images=transform)
    ModelOptimizationSpec.model_validate(spec)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, spec: dict[str, Any]) -> None:
    change, message = REFUSED[case]
    ModelOptimizationSpec.model_validate(copy.deepcopy(spec))
    change(spec)
    with pytest.raises(ValidationError, match=message):
        ModelOptimizationSpec.model_validate(spec)
