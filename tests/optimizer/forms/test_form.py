"""Which form a variant runs, what it is called, and what becomes of variants without one."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from mopt_api.auto.int8 import CpuClass
from mopt_api.auto.search import SearchAim, SearchFacts, contenders, search
from mopt_api.auto.unsupported import unsupported_on_kind
from mopt_api.enums import Aggregate, ModelFormat, QualityMetric, TargetKind
from mopt_api.figures import SourceInfo, VariantReason, VariantState
from mopt_api.jobs.aim import GateAim
from mopt_api.jobs.plan import PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import (
    FallbackReport,
    KindArtifacts,
    PrepareResult,
    QuantizationReport,
)
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.forms.form import Form, form_of
from mopt_optimizer.machine.system import own_cpu_class
from mopt_optimizer.stages.prepare.assignment import assign, unfit
from mopt_optimizer.stages.prepare.messages import Quantized
from mopt_optimizer.stages.prepare.stage import wanted_forms

GATES = [QualityGate(metric=QualityMetric.PSNR, minimum=40)]
COMPILED = {"torchMode": "Compiled"}
MAKERS = ("PyTorch", "ONNXRuntime", "TensorRT")


def variant(runtime: str, precision: str, **fields: Any) -> Variant:
    wire = {"name": "v", "runtime": runtime, "precision": precision} | fields
    return Variant.model_validate(wire)


def int8(runtime: str, **quantization: Any) -> Variant:
    return variant(runtime, "INT8", quantization=quantization)


NAMES: list[tuple[Variant, str | None]] = [
    (variant("ONNXRuntime", "FP32"), None),
    (variant("OpenVINO", "FP32"), None),
    (variant("OpenVINO", "BF16"), None),
    (variant("PyTorch", "FP32"), None),
    (variant("PyTorch", "FP32", **COMPILED), None),
    (variant("ONNXRuntime", "FP16"), "fp16.onnx"),
    (variant("PyTorch", "BF16"), "torch-bf16.pt2"),
    (variant("PyTorch", "BF16", **COMPILED), "torch-bf16.pt2"),
    (variant("ONNXRuntime", "INT8"), "int8-minmax-perchannel-gated.onnx"),
    (int8("OpenVINO"), "int8-minmax-perchannel-gated.onnx"),
    (int8("OpenVINO", floatPrecision="BF16"), "int8-minmax-perchannel-gated.onnx"),
    (int8("OpenVINO", method="NNCF"), "int8-nncf-gated.onnx"),
    (int8("OpenVINO", method="NNCF", floatPrecision="BF16"), "int8-nncf-gated.onnx"),
    (
        int8("OpenVINO", method="NNCF", searchBudgetSeconds=60),
        "int8-nncf-gated-60s.onnx",
    ),
    (int8("OpenVINO", method="NNCF", fallback="Off"), "int8-nncf.onnx"),
    (variant("PyTorch", "FP16"), "torch-fp16.pt2"),
    (variant("TensorRT", "FP32"), None),
    (variant("TensorRT", "FP16"), "fp16.onnx"),
    (variant("TensorRT", "BF16"), "bf16.onnx"),
    (variant("TensorRT", "INT8"), "tensorrt-int8-best-perchannel-gated.onnx"),
    (int8("TensorRT"), "tensorrt-int8-minmax-perchannel-gated.onnx"),
    (int8("TensorRT", perChannel=False, fallback="Off"), "tensorrt-int8-minmax-pertensor.onnx"),
    (variant("TensorRT", "FP8"), "tensorrt-fp8-best-gated.onnx"),
    (
        variant("ONNXRuntime", "INT8", executionProvider="TensorRT"),
        "tensorrt-int8-best-perchannel-gated.onnx",
    ),
    (variant("ONNXRuntime", "FP16", executionProvider="TensorRT"), "fp16.onnx"),
    (
        variant("ONNXRuntime", "INT8", executionProvider="CUDA"),
        "int8-minmax-perchannel-gated.onnx",
    ),
    (int8("PyTorch"), "torch-int8-static-perchannel.pt2"),
    (int8("PyTorch", mode="Dynamic", perChannel=False), "torch-int8-dynamic-pertensor.pt2"),
]


WEIGHTS = {"mode": "WeightOnly"}
NAMES += [
    (int8("ONNXRuntime", **WEIGHTS), "weights-int8.onnx"),
    (int8("OpenVINO", floatPrecision="BF16", **WEIGHTS), "weights-int8.onnx"),
    (int8("OpenVINO", weightBits=4, **WEIGHTS), "weights-int4.onnx"),
    (
        variant("ONNXRuntime", "INT8", executionProvider="TensorRT", quantization=WEIGHTS),
        "weights-int8.onnx",
    ),
]

ON_A_GPU: list[tuple[Variant, str | None]] = [
    (variant("PyTorch", "INT8"), "torch-linear-int8-perchannel.pt2"),
    (int8("PyTorch", perChannel=False), "torch-linear-int8-pertensor.pt2"),
    (variant("PyTorch", "FP8"), "torch-linear-fp8-perchannel.pt2"),
]


@pytest.mark.parametrize(("chosen", "file"), ON_A_GPU)
def test_pytorchs_8_bits_on_a_gpu_are_of_linear(chosen: Variant, file: str) -> None:
    form = form_of(chosen, TargetKind.GPU)
    assert form is not None
    assert f"{form.name()}{form.suffix}" == file


def test_all_other_forms_are_the_same_on_a_gpu() -> None:
    for chosen, _ in NAMES:
        if chosen.precision != "INT8" or chosen.runtime != "PyTorch":
            assert form_of(chosen, TargetKind.GPU) == form_of(chosen)


@pytest.mark.parametrize(("chosen", "file"), NAMES)
def test_variants_share_a_form_exactly_where_the_file_is_the_same(
    chosen: Variant, file: str | None
) -> None:
    form = form_of(chosen)
    assert (form and f"{form.name(GATES)}{form.suffix}") == file


def test_what_runs_beside_int8_is_no_matter_of_the_file() -> None:
    for more in ({}, {"method": "NNCF"}):
        assert form_of(int8("OpenVINO", floatPrecision="BF16", **more)) == form_of(
            int8("OpenVINO", **more)
        )


def test_exclusions_make_another_file_of_every_kind() -> None:
    for runtime, more in (("OpenVINO", {"method": "NNCF"}), *((r, {}) for r in MAKERS)):
        forms = [form_of(int8(runtime, exclude=e, **more)) for e in ([], ["a"], ["b"], ["b", "b"])]
        names = [form.name() for form in forms if form]
        assert len(set(names)) == 3
        assert names[2] == names[3]


@pytest.mark.parametrize(
    ("chosen", "needs"),
    [
        (variant("ONNXRuntime", "FP16"), False),
        (variant("PyTorch", "BF16"), False),
        (variant("PyTorch", "FP16"), False),
        (variant("TensorRT", "BF16"), False),
        (variant("TensorRT", "INT8"), True),
        (variant("TensorRT", "FP8"), True),
        (int8("PyTorch"), True),
        (int8("PyTorch", mode="Dynamic"), False),
        (int8("OpenVINO", method="NNCF"), True),
        (int8("OpenVINO", mode="WeightOnly"), False),
    ],
)
def test_calibration_data_is_asked_for_where_it_matters(chosen: Variant, needs: bool) -> None:
    form = form_of(chosen)
    assert form is not None
    assert form.needs_samples is needs


@pytest.mark.parametrize("chosen", [int8("PyTorch"), variant("PyTorch", "BF16")])
def test_torchscript_says_why_it_cannot_be_captured(chosen: Variant) -> None:
    message = unfit(chosen, ModelFormat.TORCH_SCRIPT)
    assert message is not None
    assert message.startswith(f"PyTorch {chosen.precision} needs an ExportedProgram: TorchScript")
    assert unfit(chosen, ModelFormat.EXPORTED_PROGRAM) is None
    assert "the model is ONNX" in (unfit(chosen, ModelFormat.ONNX) or "")


def test_torchscript_runs_eager_but_is_not_compiled() -> None:
    assert unfit(variant("PyTorch", "FP32"), ModelFormat.TORCH_SCRIPT) is None
    message = unfit(variant("PyTorch", "FP32", **COMPILED), ModelFormat.TORCH_SCRIPT)
    assert message is not None
    assert message.startswith("PyTorch compiling needs an ExportedProgram")


def test_each_variant_gets_its_file_or_a_reason() -> None:
    kinds = {
        "eager": variant("PyTorch", "FP32"),
        "half": variant("PyTorch", "BF16"),
        "torch8": int8("PyTorch"),
        "dynamic": int8("PyTorch", mode="Dynamic"),
        "nncf": int8("OpenVINO", method="NNCF"),
        "fp16": variant("ONNXRuntime", "FP16"),
    }
    variants = [v.model_copy(update={"name": name}) for name, v in kinds.items()]
    made = [
        Quantized(name="torch-bf16", file="torch-bf16.pt2"),
        Quantized(name="torch-int8-dynamic-perchannel", error="no Linear"),
        Quantized(name="fp16", file="fp16.onnx"),
    ]
    found = assign(variants, ModelFormat.EXPORTED_PROGRAM, made, calibrated=False)
    on_cpu = found.by_kind[TargetKind.CPU]
    assert on_cpu.artifacts == {"eager": "source", "half": "torch-bf16", "fp16": "fp16"}
    missing = (VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA)
    assert {s.name: (s.state, s.reason) for s in on_cpu.skipped} == {
        "torch8": missing,
        "nncf": missing,
        "dynamic": (VariantState.FAILED, VariantReason.BUILD_FAILED),
    }


AIMS = [GateAim.of(GATES[0], 4)]


def test_second_search_makes_a_form_of_its_own() -> None:
    for chosen in (
        variant("ONNXRuntime", "INT8"),
        variant("TensorRT", "FP8"),
        int8("OpenVINO", method="NNCF"),
    ):
        form = form_of(chosen)
        assert form is not None
        others = [[], AIMS, [GateAim.of(GATES[0], 5)]]
        names = [form.aimed(aims).name(GATES) for aims in others]
        assert names[0] == form.name(GATES)
        assert len(set(names)) == 3
        assert all(name.startswith(names[0]) for name in names)
    for chosen in (variant("ONNXRuntime", "FP16"), int8("PyTorch")):
        form = form_of(chosen)
        assert form is not None
        assert form.aimed(AIMS) == form


@pytest.mark.parametrize("found", [True, False])
def test_variant_runs_its_second_form_where_one_was_found(*, found: bool) -> None:
    first = form_of(variant("ONNXRuntime", "INT8"))
    assert first is not None
    second = first.aimed(AIMS)
    variants = [
        variant("ONNXRuntime", "INT8").model_copy(update={"name": name})
        for name in ("aimed", "other")
    ]
    error = None if found else "the gate holds only with every layer in FP32"
    made = [
        Quantized(name=first.name(GATES), file="a.onnx"),
        Quantized(name=second.name(GATES), error=error),
    ]
    assigned = assign(
        variants, ModelFormat.ONNX, made, calibrated=True, gates=GATES, aims={"aimed": AIMS}
    ).by_kind[TargetKind.CPU]
    runs = second if found else first
    assert assigned.artifacts == {"aimed": runs.name(GATES), "other": first.name(GATES)}
    assert assigned.skipped == []


def test_second_search_wants_the_first_form_too() -> None:
    plan = PreparePlan(
        model=PlannedModel(uri="s3://models/a.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
        inputs=[],
        dimensions={},
        variants=[variant("ONNXRuntime", "INT8"), variant("ONNXRuntime", "FP16")],
        output_uri="s3://out",
        quality=GATES,
        aims={"v": AIMS},
        cpu_classes=[CpuClass.WIDE_X86],
    )
    first = [form.name(GATES) for form in wanted_forms(plan.model_copy(update={"aims": None}))]
    both = [form.name(GATES) for form in wanted_forms(plan)]
    assert set(first) < set(both)
    assert len(both) == len(first) + 1 == 3


def assigned(kinds: list[TargetKind], *made: Quantized) -> dict[TargetKind, KindArtifacts]:
    chosen = {
        "rt": variant("TensorRT", "FP16"),
        "ov": variant("OpenVINO", "FP32"),
        "torch8": int8("PyTorch", mode="Dynamic"),
    }
    variants = [v.model_copy(update={"name": name}) for name, v in chosen.items()]
    found = assign(variants, ModelFormat.EXPORTED_PROGRAM, made, calibrated=False, kinds=kinds)
    return found.by_kind


ON_CPU = Quantized(name="torch-int8-dynamic-perchannel", file="a.pt2")
ON_GPU = Quantized(name="torch-linear-int8-perchannel", file="b.pt2")
FP16 = Quantized(name="fp16", file="fp16.onnx")


def test_a_variant_that_no_target_runs_has_no_file() -> None:
    found = assigned([TargetKind.CPU], ON_CPU)[TargetKind.CPU]
    assert found.artifacts == {"ov": "fp32", "torch8": ON_CPU.name}
    ((name, reason),) = ((s.name, s.reason) for s in found.skipped)
    assert (name, reason) == ("rt", VariantReason.NO_ACCELERATOR)
    built = assigned([TargetKind.BUILD_ONLY], FP16)[TargetKind.BUILD_ONLY]
    assert built.artifacts == {"rt": "fp16"}
    assert [s.name for s in built.skipped] == ["ov", "torch8"]


def test_each_kind_of_target_has_the_form_that_is_for_it() -> None:
    found = assigned([TargetKind.CPU, TargetKind.GPU], ON_CPU, ON_GPU, FP16)
    assert found[TargetKind.CPU].artifacts == {"ov": "fp32", "torch8": ON_CPU.name}
    assert found[TargetKind.GPU].artifacts == {"rt": "fp16", "torch8": ON_GPU.name}
    assert [s.name for s in found[TargetKind.CPU].skipped] == ["rt"]
    assert [s.name for s in found[TargetKind.GPU].skipped] == ["ov"]
    assert assigned([TargetKind.GPU], ON_GPU, FP16) == {TargetKind.GPU: found[TargetKind.GPU]}


def test_what_fails_for_gpus_alone_is_reported_for_them_alone() -> None:
    failed = Quantized(name=ON_GPU.name, error="no Linear")
    result = PrepareResult(
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.EXPORTED_PROGRAM, size_bytes=1),
        artifacts=[],
        artifacts_by_kind=assigned([TargetKind.CPU, TargetKind.GPU], ON_CPU, failed, FP16),
    )
    again = PrepareResult.model_validate_json(result.model_dump_json(by_alias=True))
    assert again == result
    assert result.artifacts_on(TargetKind.CPU)["torch8"] == ON_CPU.name
    assert result.artifacts_on(TargetKind.GPU) == {"rt": "fp16"}
    assert [s.name for s in result.skipped_on(TargetKind.CPU)] == ["rt"]
    messages = {s.name: s.message for s in result.skipped_on(TargetKind.GPU)}
    assert messages["torch8"] == "no Linear"


def test_a_kind_that_nothing_was_prepared_for_has_no_artifacts() -> None:
    result = PrepareResult(
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1),
        artifacts=[],
        artifacts_by_kind=assigned([TargetKind.CPU], ON_CPU),
    )
    assert (result.artifacts_on(TargetKind.GPU), result.skipped_on(TargetKind.GPU)) == ({}, [])


def test_every_variant_of_auto_can_be_made_of_the_format_it_is_for() -> None:
    for model_format in ModelFormat:
        for kind, aim in product(TargetKind, SearchAim):
            for calibrated in (True, False):
                facts = SearchFacts(
                    model_format=model_format, calibrated=calibrated, aim=aim, kind=kind
                )
                assert [v.name for v in contenders(facts) if unsupported_on_kind(v, kind)] == []
                assert [v.name for v in contenders(facts) if unfit(v, model_format)] == []


SATURATING = [
    variant("ONNXRuntime", "INT8"),
    int8("ONNXRuntime", mode="Dynamic"),
    int8("OpenVINO", method="NNCF"),
    int8("PyTorch"),
]
SOUND = [
    variant("ONNXRuntime", "FP32"),
    variant("ONNXRuntime", "FP16"),
    int8("OpenVINO", mode="WeightOnly"),
    variant("TensorRT", "INT8"),
]


def test_cpus_of_narrow_sums_have_a_file_of_their_own_where_products_saturate() -> None:
    for chosen in SATURATING:
        form, narrow = form_of(chosen), form_of(chosen, narrow_sums=True)
        assert form is not None
        assert narrow is not None
        assert narrow.narrow_sums
        assert narrow.name(GATES) == f"{form.name(GATES)}-narrow"
        assert narrow.aimed(AIMS).name(GATES).startswith(narrow.name(GATES))
        assert Form.model_validate_json(narrow.model_dump_json()) == narrow
    for chosen in SOUND:
        assert form_of(chosen, narrow_sums=True) == form_of(chosen)
    for chosen in (*SATURATING, *SOUND):
        on_gpu = form_of(chosen, TargetKind.GPU)
        assert form_of(chosen, TargetKind.GPU, narrow_sums=True) == on_gpu


def plan_for(*cpus: CpuClass, kinds: tuple[TargetKind, ...] = (TargetKind.CPU,)) -> PreparePlan:
    return PreparePlan(
        model=PlannedModel(uri="s3://models/a.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
        inputs=[],
        dimensions={},
        variants=[variant("ONNXRuntime", "INT8"), variant("ONNXRuntime", "FP16")],
        output_uri="s3://out",
        quality=GATES,
        kinds=list(kinds),
        cpu_classes=list(cpus),
    )


EIGHT, SEVEN = "int8-minmax-perchannel-gated", "int8-minmax-perchannel-gated-narrow"


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        (plan_for(CpuClass.WIDE_X86), {EIGHT}),
        (plan_for(CpuClass.OTHER), {EIGHT}),
        (plan_for(CpuClass.NARROW_X86), {SEVEN}),
        (plan_for(CpuClass.NARROW_X86, CpuClass.WIDE_X86), {EIGHT, SEVEN}),
        (plan_for(CpuClass.NARROW_X86, kinds=(TargetKind.GPU,)), {EIGHT}),
    ],
)
def test_prepare_makes_what_the_targets_cpus_compute_not_its_own(
    plan: PreparePlan, names: set[str]
) -> None:
    assert {form.name(GATES) for form in wanted_forms(plan)} == names | {"fp16"}


def test_where_nothing_is_said_prepare_makes_the_form_of_its_own_class() -> None:
    alike = plan_for().model_copy(update={"cpu_classes": None})
    assert wanted_forms(alike) == wanted_forms(plan_for(own_cpu_class()))
    assert "cpuClasses" not in alike.to_api()


def prepared(*made: Quantized) -> PrepareResult:
    """Return the manifest of these forms for one variant in INT8 and one in FP32."""
    variants = [
        variant("ONNXRuntime", precision).model_copy(update={"name": precision.lower()})
        for precision in ("INT8", "FP32")
    ]
    found = assign(variants, ModelFormat.ONNX, made, calibrated=True, gates=GATES)
    return PrepareResult(
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1),
        artifacts=[],
        artifacts_by_kind=found.by_kind,
        narrow_sums=found.narrow_sums,
    )


FULL, HALF = Quantized(name=EIGHT, file="a.onnx"), Quantized(name=SEVEN, file="b.onnx")
REFUSED = Quantized(name=SEVEN, error="the gate holds only with every layer in FP32")


@pytest.mark.parametrize(
    ("made", "cpu", "runs"),
    [
        ((FULL, HALF), CpuClass.WIDE_X86, EIGHT),
        ((FULL, HALF), CpuClass.OTHER, EIGHT),
        ((FULL, HALF), CpuClass.NARROW_X86, SEVEN),
        # Only such CPUs were known of: 7 bits are sound on all others.
        ((HALF,), CpuClass.WIDE_X86, SEVEN),
        ((HALF,), CpuClass.NARROW_X86, SEVEN),
        # ARM prepared.
        ((FULL,), CpuClass.OTHER, EIGHT),
        ((FULL,), CpuClass.NARROW_X86, None),
        ((FULL, REFUSED), CpuClass.WIDE_X86, EIGHT),
        ((FULL, REFUSED), CpuClass.NARROW_X86, None),
    ],
)
def test_each_cpu_measures_what_it_computes_soundly(
    made: tuple[Quantized, ...], cpu: CpuClass, runs: str | None
) -> None:
    manifest = PrepareResult.model_validate_json(prepared(*made).model_dump_json(by_alias=True))
    found = manifest.on_cpu(cpu)
    assert found.artifacts_on(TargetKind.CPU) == {"fp32": "fp32"} | ({"int8": runs} if runs else {})
    reasons = {s.name: (s.state, s.reason) for s in found.skipped_on(TargetKind.CPU)}
    if runs:
        assert reasons == {}
    elif REFUSED in made:
        assert reasons == {"int8": (VariantState.FAILED, VariantReason.BUILD_FAILED)}
    else:
        assert reasons == {"int8": (VariantState.SKIPPED, VariantReason.SATURATES)}


def test_a_manifest_of_before_runs_what_it_has() -> None:
    old = prepared(FULL).model_copy(update={"narrow_sums": None})
    assert old.on_cpu(CpuClass.NARROW_X86) == old


def test_a_second_search_counts_on_whichever_cpu_runs_it() -> None:
    aimed = QuantizationReport(
        name=SEVEN,
        quantized_nodes=1,
        fallbacks=[
            FallbackReport(
                metric=QualityMetric.PSNR,
                aggregate=Aggregate.WORST,
                quality_all_int8=1,
                quality=2,
                int8_mac_share=0.5,
                trials=1,
                exclude=[],
                aim_decibels=4,
            )
        ],
    )
    manifest = prepared(FULL, HALF).model_copy(update={"quantizations": [aimed]})
    assert manifest.aimed() == {"int8"}
    assert manifest.aimed_on(TargetKind.CPU) == []
    assert manifest.on_cpu(CpuClass.NARROW_X86).aimed_on(TargetKind.CPU) == ["int8"]


@pytest.mark.parametrize("aim", SearchAim)
def test_auto_says_of_the_same_variants_that_they_have_seven_bits(aim: SearchAim) -> None:
    facts = SearchFacts(
        model_format=ModelFormat.EXPORTED_PROGRAM,
        calibrated=True,
        aim=aim,
        operators={"MatMul": 9},
        cpu_features=["avx2"],
    )
    for candidate in search(facts):
        if candidate.taken:
            form = form_of(candidate.variant)
            assert ("7 bits" in candidate.reason) is (form is not None and form.maker.saturates)
