"""What the key of each step holds: everything that bears on its result, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.enums import ModelFormat, Precision, QualityMetric, QuantizationMode, TargetKind
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.aim import GateAim
from mopt_api.jobs.plan import PlannedData, PlannedModel, PreparePlan
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.stages.parts import Part
from mopt_optimizer.stages.step_keys import (
    engine_key,
    export_key,
    form_key,
    manifest_key,
    software_versions,
)

AUTO = SearchFacts(model_format=ModelFormat.EXPORTED_PROGRAM, calibrated=True)
COMMON = {"python", "machine", "numpy"}
PARTS = {part.value for part in Part}
ONNX = {"onnx", "onnx-ir", "onnxscript", "onnxruntime"}
OTHERS = {"torch", "torchao", "openvino", "nncf", "pillow", "scikit-image"}
SOFTWARE = dict.fromkeys({"mopt"} | COMMON | PARTS | ONNX | OTHERS, "1")
GATE = QualityGate(metric=QualityMetric.PSNR, minimum=40)
SAMPLES = f"sha256:{'a' * 64}"
FORMS = {kind: Form(kind=kind) for kind in FormKind}
WITHOUT_SEARCH = Form(
    kind=FormKind.QDQ, quantization=Quantization.model_validate({"fallback": "Off"})
)


@pytest.fixture
def plan() -> PreparePlan:
    return PreparePlan(
        model=PlannedModel(
            uri="s3://here/model.pt2", sha256="0" * 64, format=ModelFormat.EXPORTED_PROGRAM
        ),
        inputs=[InputSpec(name="image", shape=["batch", 3, 8, 8])],
        dimensions={"batch": DimensionRange(min=1, opt=1, max=4)},
        calibration=PlannedData(uri="s3://here/data", samples=8, images=ImageTransform()),
        variants=contenders(AUTO),
        output_uri="s3://here/out",
        quality=[GATE],
    )


def other_plans(plan: PreparePlan) -> dict[str, PreparePlan]:
    """Plans that differ in one thing each."""
    sizes = {"batch": DimensionRange(min=1, opt=2, max=4)}
    changes: dict[str, Any] = {
        "model": plan.model.model_copy(update={"sha256": "1" * 64}),
        "inputs": [plan.inputs[0].model_copy(update={"name": "picture"})],
        "dimensions": sizes,
        "variants": plan.variants[:1],
        "search": AUTO,
        "kinds": [TargetKind.GPU],
        "quality": [QualityGate(metric=QualityMetric.PSNR, minimum=41)],
        "output_uri": "s3://here/elsewhere",
        "question": "a" * 64,
    }
    plans = {name: plan.model_copy(update={name: value}) for name, value in changes.items()}
    moved = plan.model.model_copy(update={"uri": "s3://there/model.pt2"})
    return plans | {"uri": plan.model_copy(update={"model": moved})}


def tools(key: Any) -> set[str]:
    """Return the tools whose version changes a key."""
    return {name for name in SOFTWARE if key(SOFTWARE | {name: "2"}) != key(SOFTWARE)}


def key_of(form: Form, plan: PreparePlan, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "fp32": "sha256:f",
        "samples": SAMPLES,
        "software": SOFTWARE,
    }
    return form_key(form, plan, **(arguments | changes))


def changing(form: Form, plan: PreparePlan) -> set[str]:
    """Return what changes a form's key, of the plan and of what else it is told."""
    key = key_of(form, plan)
    found = {name for name, other in other_plans(plan).items() if key_of(form, other) != key}
    told: dict[str, Any] = {
        "fp32": "sha256:g",
        "samples": None,
    }
    return found | {
        name for name, value in told.items() if key_of(form, plan, **{name: value}) != key
    }


def test_export_follows_the_model_and_what_exports_it(plan: PreparePlan) -> None:
    key = export_key(plan, SOFTWARE)
    changed = {n for n, other in other_plans(plan).items() if export_key(other, SOFTWARE) != key}
    assert changed == {"model", "inputs", "dimensions"}
    export = COMMON | {Part.EXPORT.value}
    assert tools(lambda software: export_key(plan, software)) == export | ONNX | {"torch"}
    onnx = plan.model.model_copy(update={"format": ModelFormat.ONNX})
    plan = plan.model_copy(update={"model": onnx})
    assert export_key(plan, SOFTWARE) != key
    assert tools(lambda software: export_key(plan, software)) == export | ONNX


def test_export_follows_the_samples_that_it_is_verified_on(plan: PreparePlan) -> None:
    keys = {
        export_key(plan, SOFTWARE, samples=digest) for digest in (None, SAMPLES, "sha256:other")
    }
    assert len(keys) == 3
    read = tools(lambda software: export_key(plan, software, samples=SAMPLES))
    assert read - tools(lambda software: export_key(plan, software)) == {"pillow"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (FORMS[FormKind.QDQ], {"fp32", "samples", "quality"}),
        (WITHOUT_SEARCH, {"fp32", "samples"}),
        (FORMS[FormKind.NNCF], {"fp32", "samples", "quality"}),
        (FORMS[FormKind.ONNX_FP16], {"fp32", "samples"}),
        (FORMS[FormKind.ONNX_BF16], {"fp32", "samples"}),
        (FORMS[FormKind.TENSORRT_INT8], {"fp32", "samples", "quality"}),
        (FORMS[FormKind.TORCH_FP16], {"model", "inputs", "dimensions", "samples"}),
        (FORMS[FormKind.TENSORRT_FP8], {"fp32", "samples", "quality"}),
        (FORMS[FormKind.TORCH_LINEAR_INT8], {"model", "inputs", "dimensions", "samples"}),
        (FORMS[FormKind.TORCH_LINEAR_FP8], {"model", "inputs", "dimensions", "samples"}),
        (FORMS[FormKind.TORCH_BF16], {"model", "inputs", "dimensions", "samples"}),
        (FORMS[FormKind.TORCH_INT8], {"model", "inputs", "dimensions", "samples"}),
        (FORMS[FormKind.WEIGHT_ONLY], {"fp32", "samples"}),
    ],
)
def test_form_follows_what_it_is_made_from(
    plan: PreparePlan, form: Form, expected: set[str]
) -> None:
    assert changing(form, plan) == expected


def test_onnx_form_follows_the_smallest_sizes_that_it_is_tried_at(plan: PreparePlan) -> None:
    form = FORMS[FormKind.QDQ]
    larger = {"batch": DimensionRange(min=2, opt=2, max=4)}
    other = plan.model_copy(update={"dimensions": larger})
    assert key_of(form, plan) != key_of(form, other)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FormKind.QDQ, {"onnx", "onnx-ir", "onnxruntime", "pillow", "scikit-image"}),
        (
            FormKind.NNCF,
            {"onnx", "onnx-ir", "onnxruntime", "openvino", "nncf", "pillow", "scikit-image"},
        ),
        (FormKind.ONNX_FP16, {"onnx", "onnx-ir", "onnxruntime", "openvino", "pillow"}),
        (FormKind.ONNX_BF16, {"onnx", "onnx-ir", "onnxruntime", "openvino", "pillow"}),
        (
            FormKind.TENSORRT_INT8,
            {"onnx", "onnx-ir", "onnxruntime", "openvino", "pillow", "scikit-image"},
        ),
        (FormKind.TORCH_FP16, {"torch", "torchao", "pillow"}),
        (FormKind.TORCH_LINEAR_INT8, {"torch", "pillow"}),
        (FormKind.TORCH_LINEAR_FP8, {"torch", "pillow"}),
        (FormKind.TORCH_BF16, {"torch", "torchao", "pillow"}),
        (FormKind.TORCH_INT8, {"torch", "torchao", "pillow"}),
        (FormKind.WEIGHT_ONLY, {"onnx", "onnx-ir", "onnxruntime", "pillow"}),
    ],
)
def test_form_follows_the_tools_that_make_it(
    plan: PreparePlan, kind: FormKind, expected: set[str]
) -> None:
    part = Part.PROGRAM_FORMS if FORMS[kind].from_program else Part.ONNX_FORMS
    found = tools(lambda s: key_of(FORMS[kind], plan, software=s))
    assert found == COMMON | {part.value} | expected


def test_narrow_sums_make_another_key_where_products_saturate(plan: PreparePlan) -> None:
    for form in FORMS.values():
        narrow = form.for_narrow_sums()
        assert (key_of(narrow, plan) != key_of(form, plan)) is form.maker.saturates


def test_options_that_make_another_file_make_another_key(plan: PreparePlan) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"perChannel": False},
        {"calibrator": "Entropy"},
        {"mode": "Dynamic"},
        {"fallback": "Off"},
        {"exclude": ["a"]},
        {"exclude": ["b"]},
    ]
    kinds = [FormKind.QDQ, FormKind.TENSORRT_INT8]
    chosen = [Quantization.model_validate(o) for o in options]
    forms = [Form(kind=kind, quantization=q) for kind in kinds for q in chosen]
    # The API refuses it: TensorRT has no mode Dynamic.
    dynamic = Quantization(mode=QuantizationMode.DYNAMIC)
    forms.remove(Form(kind=FormKind.TENSORRT_INT8, quantization=dynamic))
    forms.append(Form(kind=FormKind.TENSORRT_INT8, best=True))
    keys = {key_of(form, plan) for form in (*forms, *FORMS.values())}
    assert len(keys) == len(forms) + len(FormKind) - len(kinds)


def test_second_search_has_keys_of_its_own(plan: PreparePlan) -> None:
    form = FORMS[FormKind.QDQ]
    aims = [[GateAim.of(plan.quality[0], decibels)] for decibels in (3, 4)]
    assert len({key_of(each, plan) for each in (form, *map(form.aimed, aims))}) == 3
    plans = [plan, *(plan.model_copy(update={"aims": {"int8": each}}) for each in aims)]
    assert len({manifest_key(each, SAMPLES, SOFTWARE) for each in plans}) == 3
    # What it does not concern is served from the first.
    assert len({key_of(form, each) for each in plans}) == 1
    assert len({export_key(each, SOFTWARE) for each in plans}) == 1


def test_a_search_that_starts_elsewhere_has_a_key_of_its_own(plan: PreparePlan) -> None:
    started = {kind: form.starting(["conv"]) for kind, form in FORMS.items()}
    other = {
        kind for kind, form in started.items() if key_of(form, plan) != key_of(FORMS[kind], plan)
    }
    assert other == {kind for kind, form in FORMS.items() if form.gated}
    assert all(form.name([GATE]) == FORMS[kind].name([GATE]) for kind, form in started.items())
    ungated = plan.model_copy(update={"quality": []})
    qdq = FormKind.QDQ
    assert key_of(started[qdq], ungated) == key_of(FORMS[qdq], ungated)
    aimed = FORMS[qdq].aimed([GateAim.of(GATE, 2)])
    assert aimed.starting(["conv"]) == aimed


def test_options_that_make_the_same_file_share_a_key(plan: PreparePlan) -> None:
    options: list[dict[str, Any]] = [
        {"exclude": ["b", "a"]},
        {"exclude": ["a", "b", "b"]},
        {"exclude": ["a", "b"], "calibrator": "Entropy", "floatPrecision": "BF16"},
    ]
    chosen = [Quantization.model_validate(o) for o in options]
    forms = [Form(kind=FormKind.NNCF, quantization=quantization) for quantization in chosen]
    assert len({key_of(form, plan) for form in forms}) == 1


def test_manifest_follows_all_of_it_but_places(plan: PreparePlan) -> None:
    key = manifest_key(plan, SAMPLES, SOFTWARE)
    others = other_plans(plan).items()
    changed = {name for name, other in others if manifest_key(other, SAMPLES, SOFTWARE) != key}
    assert changed == {"model", "inputs", "dimensions", "search", "kinds", "variants", "quality"}
    assert manifest_key(plan, None, SOFTWARE) != key
    assert tools(lambda software: manifest_key(plan, SAMPLES, software)) == SOFTWARE.keys()


def test_manifest_that_leaves_something_out_answers_one_question(plan: PreparePlan) -> None:
    plans = [plan.model_copy(update={"question": each * 64}) for each in "ab"]
    keys = {manifest_key(each, SAMPLES, SOFTWARE, warm=True) for each in plans}
    assert len(keys | {manifest_key(each, SAMPLES, SOFTWARE) for each in plans}) == 3


def test_every_tool_that_a_key_names_is_looked_up() -> None:
    assert software_versions().keys() <= SOFTWARE.keys()
    assert {"python", "machine", "mopt", "numpy", "pillow"} <= software_versions().keys()


def test_an_engine_is_another_for_another_file_size_gpu_or_tensorrt() -> None:
    told: dict[str, Any] = {
        "onnx": f"sha256:{'c' * 64}",
        "precision": Precision.FP16,
        "shapes": {"image": ((1, 3), (2, 3), (4, 3))},
        "compute_capabilities": ["8.6", "8.9"],
        "tensorrt": "TensorRT for RTX 1.7.1",
        "software": SOFTWARE,
    }

    def key(**changes: Any) -> str:
        return engine_key(**(told | changes))

    assert key() == key(compute_capabilities=["8.9", "8.6"])
    others = [
        key(onnx=f"sha256:{'d' * 64}"),
        key(precision=Precision.FP32),
        key(shapes={"image": ((1, 3), (2, 3), (8, 3))}),
        key(compute_capabilities=["8.9"]),
        key(tensorrt="TensorRT for RTX 1.8.0"),
        key(software=SOFTWARE | {Part.ENGINES.value: "2"}),
    ]
    assert len({key(), *others}) == 1 + len(others)
