"""Who takes part in a measurement, once the model and the hardware are known."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.auto.search import SearchAim, SearchFacts, contenders, search
from mopt_api.benchmark import Benchmark
from mopt_api.enums import (
    FloatPrecision,
    ModelFormat,
    Precision,
    Runtime,
    TargetKind,
    TorchMode,
)
from mopt_api.figures import Gpu, Hardware, SourceInfo, VariantReason, VariantState
from mopt_api.jobs.outrun import hardware_digest
from mopt_api.jobs.plan import MeasurePlan, PlannedModel
from mopt_api.jobs.prepare_result import (
    KindArtifacts,
    Outrun,
    PreparedArtifact,
    PrepareResult,
    SkippedVariant,
)
from mopt_api.objective import Objective
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.machine.versions import COMPILER
from mopt_optimizer.stages.measure.field import Field, cannot_run, field_of
from mopt_optimizer.stages.missing import CUDA_PROVIDER, TENSORRT_PROVIDER

DIGEST = f"sha256:{'0' * 64}"
MIB = 2**20
WITH_COMPILER = {COMPILER: "12.2.0"}
EVERYTHING = frozenset(
    {"torch", "onnxruntime", "openvino", "tensorrt", CUDA_PROVIDER, TENSORRT_PROVIDER}
)


def plan(*, auto: bool, **facts: Any) -> MeasurePlan:
    known = {"model_format": ModelFormat.EXPORTED_PROGRAM, "calibrated": False} | facts
    search = SearchFacts(**known)
    return MeasurePlan(
        target="default",
        kind=search.kind,
        model=PlannedModel(uri="s3://m/m.pt2", sha256="0" * 64, format=search.model_format),
        prepared=DIGEST,
        inputs=[],
        dimensions={},
        variants=contenders(search),
        quality=[],
        objective=Objective(),
        benchmark=Benchmark(),
        output_uri="s3://o/o",
        search=search if auto else None,
    )


def manifest(told: MeasurePlan, operators: dict[str, int] | None) -> PrepareResult:
    static = [v.name for v in told.variants if "int8" in v.name and "dynamic" not in v.name]
    artifact = Artifact(digest=DIGEST, size_bytes=10 * MIB, format=ArtifactFormat.ONNX)
    return PrepareResult(
        source=SourceInfo(sha256="0" * 64, format=told.model.format, size_bytes=9 * MIB),
        artifacts=[PreparedArtifact(name="fp32", artifact=artifact)],
        artifacts_by_kind={
            told.kind: KindArtifacts(
                artifacts={v.name: "fp32" for v in told.variants if v.name not in static},
                skipped=[
                    SkippedVariant(
                        name=name,
                        state=VariantState.SKIPPED,
                        reason=VariantReason.NO_CALIBRATION_DATA,
                        message="static INT8 needs data.calibration",
                    )
                    for name in static
                ],
            )
        },
        operators=operators,
    )


def field(
    told: MeasurePlan,
    features: list[str],
    *,
    operators: dict[str, int] | None = None,
    memory: int = 4096 * MIB,
    software: dict[str, str] = WITH_COMPILER,
    capability: str | None = None,
    installed: frozenset[str] = EVERYTHING,
) -> Field:
    gpu = Gpu(name="GPU", compute_capability=capability) if capability else None
    hardware = Hardware(cpu_features=features, memory_bytes=memory, gpu=gpu)
    made = manifest(told, operators or {"Conv": 3})
    return field_of(told, made, hardware, software, installed)


def tried(found: Field) -> set[str]:
    return {v.name for v in found.variants if v.name not in found.known}


def test_auto_leaves_out_what_is_no_contender_and_says_why() -> None:
    found = field(plan(auto=True), ["avx512_bf16"])
    assert tried(found) == {"onnxruntime-fp32", "openvino-fp32", "openvino-bf16"}
    rows = {variant.name for variant in found.variants}
    told = {entry.variant: (entry.taken, entry.reason) for entry in found.search}
    for name in ("onnxruntime-int8-dynamic", "pytorch-compiled"):
        assert name not in rows
        assert not told[name][0]
        assert told[name][1]
    assert {name for name, (taken, _) in told.items() if taken} == tried(found)


def test_what_prepare_left_out_is_no_row() -> None:
    told = plan(auto=True)
    here = Hardware(cpu_features=["avx512_bf16"])
    lost = Outrun(variants={"openvino-bf16": "too slow"}, hardware=[hardware_digest(here)])
    made = manifest(told, {"Conv": 3}).model_copy(update={"outrun": {TargetKind.CPU: lost}})

    def found(hardware: Hardware) -> tuple[set[str], str]:
        field = field_of(told, made, hardware, WITH_COMPILER, EVERYTHING)
        reasons = {entry.variant: entry.reason for entry in field.search if not entry.taken}
        return tried(field), reasons["openvino-bf16"]

    both = {"onnxruntime-fp32", "openvino-fp32"}
    assert found(here) == (both, "too slow")
    elsewhere = here.model_copy(update={"cpu": "another"})
    assert found(elsewhere) == (both, "on other hardware: too slow")


def test_what_lacks_something_is_a_skipped_row() -> None:
    found = field(plan(auto=True), ["avx2"], software={})
    skipped = {name: (r.state, r.reason) for name, r in found.known.items()}
    assert skipped["openvino-int8"] == (VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA)
    assert skipped["openvino-bf16"] == (VariantState.SKIPPED, VariantReason.NO_NATIVE_BF16)
    assert skipped["pytorch-compiled"] == (VariantState.SKIPPED, VariantReason.NO_COMPILER)
    assert tried(found) == {"onnxruntime-fp32", "openvino-fp32"}


def test_a_runtime_that_is_not_installed_is_a_skipped_row_with_its_name() -> None:
    found = field(plan(auto=True), ["avx512_bf16"], installed=EVERYTHING - {"openvino"})
    assert tried(found) == {"onnxruntime-fp32"}
    skipped = found.known["openvino-fp32"]
    assert (skipped.state, skipped.reason) == (VariantState.SKIPPED, VariantReason.BUILD_FAILED)
    assert "openvino is not installed" in (skipped.message or "")
    # Also where data is missing for it too: data would not help.
    assert "openvino is not installed" in (found.known["openvino-int8"].message or "")


def test_a_gpu_without_its_runtimes_keeps_pytorch() -> None:
    told = plan(auto=True, kind=TargetKind.GPU)
    found = field(told, [], capability="9.0", installed=frozenset({"torch", "onnxruntime"}))
    assert tried(found) == {"pytorch-fp16-compiled", "pytorch-bf16-compiled"}
    messages = {name: result.message or "" for name, result in found.known.items()}
    assert "onnxruntime-gpu is not installed" in messages["onnxruntime-fp16"]
    assert "tensorrt or tensorrt_rtx is not installed" in messages["tensorrt-fp16"]


def test_what_cannot_fit_into_memory_is_not_opened() -> None:
    found = field(plan(auto=True), ["avx512_bf16"], memory=8 * MIB)
    assert tried(found) == set()
    assert found.known["openvino-fp32"].reason is VariantReason.OUT_OF_MEMORY
    assert str(10 * MIB) in (found.known["openvino-fp32"].message or "")


def test_what_a_user_lists_is_tried_whatever_auto_would_say() -> None:
    found = field(plan(auto=False), ["avx512_bf16"], memory=8 * MIB)
    assert {"onnxruntime-int8-dynamic", "pytorch-compiled"} <= tried(found)
    assert (found.search, found.prunes) == ([], False)


@pytest.mark.parametrize("aim", list(SearchAim))
def test_only_a_search_for_speed_prunes(aim: SearchAim) -> None:
    assert field(plan(auto=True, aim=aim), []).prunes is (aim is SearchAim.SPEED)


def test_a_manifest_of_an_older_version_rules_nothing_out() -> None:
    told = plan(auto=True)
    hardware = Hardware(cpu_features=["avx512_bf16"])
    found = field_of(told, manifest(told, None), hardware, WITH_COMPILER)
    assert "onnxruntime-int8-dynamic" in tried(found)


GPU = {"kind": TargetKind.GPU}


def test_auto_on_a_gpu_follows_its_compute_capability() -> None:
    found = field(plan(auto=True, **GPU), [], capability="7.5")
    assert tried(found) == {
        "onnxruntime-fp32",
        "onnxruntime-fp16",
        "onnxruntime-tensorrt-fp16",
        "tensorrt-fp32",
        "tensorrt-fp16",
        "pytorch-fp16-compiled",
    }
    reasons = {name: result.reason for name, result in found.known.items()}
    assert reasons["tensorrt-bf16"] is VariantReason.NO_NATIVE_BF16
    assert "tensorrt-bf16" in {entry.variant for entry in found.search if not entry.taken}


@pytest.mark.parametrize(
    ("name", "kind", "capability", "reason"),
    [
        ("tensorrt-fp16", TargetKind.CPU, None, VariantReason.NO_ACCELERATOR),
        ("pytorch-fp16-compiled", TargetKind.CPU, None, VariantReason.NO_ACCELERATOR),
        ("openvino-fp32", TargetKind.GPU, "8.9", VariantReason.NO_ACCELERATOR),
        ("pytorch-fp8", TargetKind.GPU, "8.6", VariantReason.NO_NATIVE_FP8),
        ("tensorrt-bf16", TargetKind.GPU, "7.5", VariantReason.NO_NATIVE_BF16),
        ("onnxruntime-fp16", TargetKind.BUILD_ONLY, None, VariantReason.NO_ACCELERATOR),
    ],
)
def test_what_is_listed_and_cannot_run_is_skipped_with_the_reason(
    name: str, kind: TargetKind, capability: str | None, reason: VariantReason
) -> None:
    known = [c.variant for k in TargetKind for c in search(facts_of(k)) if c.variant.name == name]
    told = plan(auto=False, kind=kind).model_copy(update={"variants": known[:1]})
    result = field(told, ["avx2"], capability=capability).known[name]
    assert (result.state, result.reason) == (VariantState.SKIPPED, reason)
    assert result.message


def facts_of(kind: TargetKind) -> SearchFacts:
    return SearchFacts(model_format=ModelFormat.EXPORTED_PROGRAM, calibrated=True, kind=kind)


def test_bf16_on_a_gpu_asks_nothing_of_the_cpu() -> None:
    assert "tensorrt-bf16" in tried(field(plan(auto=True, **GPU), [], capability="8.0"))


def test_bf16_needs_the_cpus_own_support() -> None:
    bf16 = Variant(name="bf16", runtime=Runtime.OPENVINO, precision=Precision.BF16)
    fp32 = Variant(name="fp32", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32)
    skipped = cannot_run(bf16, ["avx2", "avx512f"], None)
    assert skipped is not None
    assert (skipped.state, skipped.reason) == (
        VariantState.SKIPPED,
        VariantReason.NO_NATIVE_BF16,
    )
    assert cannot_run(bf16, ["avx512_bf16"], None) is None
    assert cannot_run(fp32, [], None) is None


@pytest.mark.parametrize("rest", list(FloatPrecision))
def test_bf16_beside_int8_needs_it_too(rest: FloatPrecision) -> None:
    quantization = Quantization(float_precision=rest)
    variant = Variant(
        name="v", runtime=Runtime.OPENVINO, precision=Precision.INT8, quantization=quantization
    )
    skipped = cannot_run(variant, ["avx2", "avx512_vnni"], None)
    assert (skipped is not None) == (rest is FloatPrecision.BF16)
    if skipped is not None:
        assert (skipped.reason, skipped.float_precision) == (VariantReason.NO_NATIVE_BF16, rest)
    assert cannot_run(variant, ["avx512_bf16"], None) is None


@pytest.mark.parametrize(
    ("precision", "mode", "compiles"),
    [
        (Precision.INT8, None, True),
        (Precision.FP32, TorchMode.COMPILED, True),
        (Precision.FP32, None, False),
        (Precision.BF16, TorchMode.EAGER, False),
    ],
)
def test_what_pytorch_compiles_needs_a_compiler(
    precision: Precision, mode: TorchMode | None, compiles: bool
) -> None:
    variant = Variant(name="v", runtime=Runtime.PYTORCH, precision=precision, torch_mode=mode)
    assert cannot_run(variant, ["avx512_bf16"], "12.2.0") is None
    skipped = cannot_run(variant, ["avx512_bf16"], None)
    assert (skipped is not None) == compiles
    if skipped is not None:
        assert (skipped.state, skipped.reason) == (
            VariantState.SKIPPED,
            VariantReason.NO_COMPILER,
        )
        assert "g++" in (skipped.message or "")
        assert skipped.torch_mode is TorchMode.COMPILED
