"""Auto: which candidates are tried, and that knowing more never brings one back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.auto.search import Candidate, SearchAim, SearchFacts, contenders, search
from mopt_api.enums import ModelFormat, ObjectiveMetric, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.jobs.plan import PLAN_ADAPTER, measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec

MOST_VARIANTS = 12
BF16 = ["avx2", "avx512_bf16"]
CONVOLUTIONAL = {"Conv": 20, "Relu": 19, "Gemm": 1}
TRANSFORMER = {"MatMul": 48, "Add": 60, "Softmax": 6, "Conv": 1}


def facts(**changes: Any) -> SearchFacts:
    known = {"model_format": ModelFormat.EXPORTED_PROGRAM, "calibrated": True} | changes
    return SearchFacts.model_validate(known)


def verdicts(**changes: Any) -> dict[str, Candidate]:
    return {c.variant.name: c for c in search(facts(**changes))}


def taken(**changes: Any) -> set[str]:
    return {name for name, candidate in verdicts(**changes).items() if candidate.taken}


STATIC = {"onnxruntime-int8", "onnxruntime-int8-percentile", "openvino-int8", "openvino-int8-nncf"}
FLOAT = {"onnxruntime-fp32", "openvino-fp32"}
MIXED = {"openvino-bf16", "openvino-int8-bf16"}
EIGHT_BITS = {"onnxruntime-int8-weights", "openvino-int8-weights"}
FOUR_BITS = {"onnxruntime-int4-weights", "openvino-int4-weights"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        # Calibration data and a CPU with bf16: everything that OpenVINO and ONNX Runtime have.
        (
            {"operators": CONVOLUTIONAL, "cpu_features": BF16},
            FLOAT | STATIC | MIXED,
        ),
        (
            {"operators": TRANSFORMER, "cpu_features": BF16},
            FLOAT | STATIC | MIXED | {"onnxruntime-int8-dynamic"},
        ),
        # Without data dynamic INT8 is the only INT8.
        (
            {"operators": TRANSFORMER, "cpu_features": BF16, "calibrated": False},
            FLOAT | {"openvino-bf16", "onnxruntime-int8-dynamic"},
        ),
        # Neither data nor bf16: PyTorch's compiler is a rival among FP32 runtimes.
        (
            {
                "operators": CONVOLUTIONAL,
                "cpu_features": ["avx2"],
                "calibrated": False,
                "compiler": True,
            },
            FLOAT | {"pytorch-compiled"},
        ),
        (
            {
                "operators": CONVOLUTIONAL,
                "cpu_features": ["avx2"],
                "calibrated": False,
                "compiler": True,
                "model_format": ModelFormat.ONNX,
            },
            FLOAT,
        ),
        ({"operators": {"Relu": 3}, "cpu_features": BF16}, FLOAT | {"openvino-bf16"}),
        # Bytes count: FP16, dynamic INT8 of Conv too, weights alone; BF16 is no file of its own.
        (
            {"operators": {"Conv": 20}, "cpu_features": BF16, "aim": SearchAim.SIZE},
            FLOAT | STATIC | EIGHT_BITS | {"onnxruntime-fp16", "onnxruntime-int8-dynamic"},
        ),
        (
            {"operators": {"Gather": 1, "LSTM": 2}, "calibrated": False, "aim": SearchAim.SIZE},
            FLOAT | EIGHT_BITS | {"onnxruntime-fp16"},
        ),
        (
            {"operators": TRANSFORMER, "calibrated": False, "aim": SearchAim.SIZE},
            FLOAT | EIGHT_BITS | FOUR_BITS | {"onnxruntime-fp16", "onnxruntime-int8-dynamic"},
        ),
        # Memory counts: only what a runtime computes from.
        (
            {"operators": TRANSFORMER, "cpu_features": BF16, "aim": SearchAim.MEMORY},
            FLOAT
            | STATIC
            | MIXED
            | FOUR_BITS
            | {"openvino-int8-weights", "onnxruntime-int8-dynamic"},
        ),
        (
            {"operators": CONVOLUTIONAL, "cpu_features": BF16, "aim": SearchAim.MEMORY},
            FLOAT | STATIC | MIXED,
        ),
    ],
)
def test_what_is_taken(changes: dict[str, Any], names: set[str]) -> None:
    assert taken(**changes) == names


@pytest.mark.parametrize(
    ("name", "changes", "lacks"),
    [
        ("openvino-int8", {"calibrated": False}, VariantReason.NO_CALIBRATION_DATA),
        ("openvino-bf16", {"cpu_features": ["avx2"]}, VariantReason.NO_NATIVE_BF16),
        ("openvino-int8-bf16", {"cpu_features": ["avx2"]}, VariantReason.NO_NATIVE_BF16),
        ("openvino-int8-bf16", {"calibrated": False}, VariantReason.NO_CALIBRATION_DATA),
        (
            "pytorch-compiled",
            {"calibrated": False, "cpu_features": [], "compiler": False},
            VariantReason.NO_COMPILER,
        ),
        (
            "openvino-fp32",
            {"memory_bytes": 100, "file_bytes": {"openvino-fp32": 101}},
            VariantReason.OUT_OF_MEMORY,
        ),
    ],
)
def test_a_contender_that_lacks_something_is_shown_as_skipped(
    name: str, changes: dict[str, Any], lacks: VariantReason
) -> None:
    candidate = verdicts(**changes)[name]
    assert (candidate.taken, candidate.lacks, candidate.shown) == (False, lacks, True)
    assert candidate.variant in contenders(facts(**changes))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("onnxruntime-int8-dynamic", {"operators": {"Conv": 3}}, "no MatMul or Gemm"),
        ("onnxruntime-int8-dynamic", {"operators": CONVOLUTIONAL}, "1 MatMul and Gemm beside 20"),
        ("onnxruntime-fp16", {}, "SizeBytes"),
        ("openvino-bf16", {"aim": "Size"}, "no byte is saved"),
        ("openvino-int8-bf16", {"aim": "Size"}, "no byte is saved"),
        ("onnxruntime-int8-weights", {}, "SizeBytes or PeakMemory"),
        ("onnxruntime-int8-weights", {"aim": "Memory"}, "restores 8-bit weights of Gemm"),
        ("openvino-int8-weights", {}, "SizeBytes or PeakMemory"),
        ("openvino-int8-weights", {"aim": "Size", "operators": {"Relu": 1}}, "no Conv, MatMul"),
        (
            "openvino-int8-weights",
            {"aim": "Memory", "operators": CONVOLUTIONAL},
            "1 MatMul and Gemm beside 20 convolutions",
        ),
        ("onnxruntime-int4-weights", {}, "SizeBytes or PeakMemory"),
        (
            "openvino-int4-weights",
            {"aim": "Size", "operators": CONVOLUTIONAL},
            "1 MatMul and Gemm beside 20 convolutions",
        ),
        ("openvino-int4-weights", {"aim": "Size", "operators": {"Relu": 1}}, "0 MatMul and Gemm"),
        ("pytorch-compiled", {"calibrated": True}, "OpenVINO's INT8 is faster"),
        ("pytorch-compiled", {"calibrated": False, "cpu_features": BF16}, "OpenVINO's BF16"),
        ("pytorch-int8", {"model_format": ModelFormat.ONNX}, "the model is ONNX"),
        ("openvino-int8", {"operators": {"Relu": 1}, "calibrated": False}, "no Conv"),
    ],
)
def test_what_is_no_contender_is_told_and_not_shown(
    name: str, changes: dict[str, Any], words: str
) -> None:
    candidate = verdicts(**changes)[name]
    assert (candidate.taken, candidate.shown) == (False, False)
    assert words in candidate.reason
    assert candidate.variant not in contenders(facts(**changes))


@pytest.mark.parametrize(
    ("features", "narrow"),
    [(None, False), (["avx2"], True), (["avx2", "avx512_vnni"], False), (["asimd"], False)],
)
def test_what_saturates_is_said_to_have_weights_in_seven_bits(
    features: list[str] | None, narrow: bool
) -> None:
    found = verdicts(operators=TRANSFORMER, aim=SearchAim.SIZE, cpu_features=features)
    told = {name for name, candidate in found.items() if "7 bits" in candidate.reason}
    assert told == (STATIC | {"onnxruntime-int8-dynamic"} if narrow else set())


def test_a_gpu_adds_up_in_32_bits_whatever_its_cpu_does() -> None:
    found = verdicts(**GPU, operators=TRANSFORMER, cpu_features=["avx2"])
    assert not any("7 bits" in candidate.reason for candidate in found.values())


ORT = {"onnxruntime-fp32", "onnxruntime-fp16", "onnxruntime-tensorrt-fp16"}
TENSORRT = {"tensorrt-fp32", "tensorrt-fp16"}
NARROW = {"tensorrt-bf16", "pytorch-bf16-compiled"}
GPU = {"kind": TargetKind.GPU, "compiler": True}


def test_a_gpu_of_unknown_capability_has_all_that_calibration_data_allows() -> None:
    known = taken(**GPU, operators=TRANSFORMER)
    assert known == ORT | TENSORRT | NARROW | {
        "tensorrt-int8",
        "tensorrt-fp8",
        "pytorch-fp16-compiled",
        "pytorch-int8",
        "pytorch-fp8",
    }
    assert len(known) == MOST_VARIANTS
    assert "tensorrt-int8" not in taken(**GPU, calibrated=False)


@pytest.mark.parametrize(
    ("capability", "missing"),
    [
        ("12.0", set()),
        ("8.9", set()),
        ("8.6", {"tensorrt-fp8", "pytorch-fp8"}),
        ("7.5", {"tensorrt-fp8", "pytorch-fp8"} | NARROW),
    ],
)
def test_what_a_gpu_lacks_follows_from_its_compute_capability(
    capability: str, missing: set[str]
) -> None:
    told = {**GPU, "operators": TRANSFORMER, "compute_capabilities": [capability]}
    found = verdicts(**told)
    lacks = {
        VariantReason.NO_NATIVE_FP8 if "fp8" in name else VariantReason.NO_NATIVE_BF16
        for name in missing
    }
    assert {name for name, c in found.items() if c.lacks} == missing
    assert {found[name].lacks for name in missing} == lacks
    assert all(f"here is {capability}" in found[name].reason for name in missing)


def test_tensorrt_is_nothing_for_gpus_that_it_does_not_build_for() -> None:
    found = verdicts(**GPU, operators=CONVOLUTIONAL, compute_capabilities=["7.0"])
    tensorrt = {name: c for name, c in found.items() if "tensorrt" in name}
    assert {c.lacks for c in tensorrt.values()} == {VariantReason.NO_ACCELERATOR}
    assert "7.5 or newer; here is 7.0" in tensorrt["onnxruntime-tensorrt-fp16"].reason
    assert found["onnxruntime-fp16"].taken


def test_pytorchs_8_bits_are_for_models_of_matrices() -> None:
    found = verdicts(**GPU, operators=CONVOLUTIONAL)
    assert "1 MatMul and Gemm beside 20 convolutions" in found["pytorch-int8"].reason
    assert found["pytorch-int8"].reason == found["pytorch-fp8"].reason
    assert not found["pytorch-fp8"].shown
    assert "Linear only" in verdicts(**GPU, operators={"Conv": 1})["pytorch-fp8"].reason


def test_every_variant_of_cpus_has_a_reason_on_a_gpu() -> None:
    found = verdicts(**GPU)
    assert verdicts().keys() <= found.keys()
    assert not found["openvino-fp32"].shown
    assert "OpenVINO does not use the target's GPU" in found["openvino-fp32"].reason
    assert "no INT8 kernels" in found["onnxruntime-int8"].reason
    assert "pytorch-bf16-compiled" in found["pytorch-bf16"].reason


def test_a_name_means_one_variant_on_every_kind_of_target() -> None:
    pools = [{n: c.variant for n, c in verdicts(kind=kind).items()} for kind in TargetKind]
    for one in pools:
        for other in pools:
            assert all(one[name] == other[name] for name in one.keys() & other.keys())


def test_engines_are_built_for_those_gpus_that_have_the_precision() -> None:
    building: dict[str, Any] = {"kind": TargetKind.BUILD_ONLY}
    names = {"tensorrt-fp16", "tensorrt-int8", "tensorrt-fp8"}
    assert taken(**building, compute_capabilities=["8.6", "8.9"]) == names
    found = verdicts(**building, compute_capabilities=["7.5", "8.6"])
    assert found.keys() == names
    assert found["tensorrt-fp8"].lacks is VariantReason.NO_NATIVE_FP8
    assert "here is 7.5 and 8.6" in found["tensorrt-fp8"].reason


@pytest.mark.parametrize("metric", list(ObjectiveMetric))
def test_every_objective_has_an_aim(metric: ObjectiveMetric) -> None:
    expected = {"SizeBytes": SearchAim.SIZE, "PeakMemory": SearchAim.MEMORY}
    assert SearchAim.of(metric) is expected.get(metric, SearchAim.SPEED)


OPERATORS = st.dictionaries(
    st.sampled_from(["Conv", "ConvTranspose", "MatMul", "Gemm", "Relu"]), st.integers(1, 60)
)
BARE = st.fixed_dictionaries(
    {
        "model_format": st.sampled_from(ModelFormat),
        "calibrated": st.booleans(),
        "aim": st.sampled_from(SearchAim),
        "kind": st.sampled_from(TargetKind),
    }
).map(SearchFacts.model_validate)
LATER = st.fixed_dictionaries(
    {},
    optional={
        "operators": OPERATORS,
        "cpu_features": st.lists(
            st.sampled_from(["avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd"])
        ),
        "compute_capabilities": st.lists(
            st.sampled_from(["7.0", "7.5", "8.6", "8.9", "12.0"]), min_size=1, max_size=2
        ),
        "compiler": st.booleans(),
        "memory_bytes": st.integers(1, 1000),
        "file_bytes": st.dictionaries(
            st.sampled_from(["onnxruntime-fp32", "openvino-int8"]), st.integers(0, 2000)
        ),
    },
)


@given(BARE, LATER)
def test_what_the_crd_allows_is_enough_and_every_verdict_has_a_reason(
    bare: SearchFacts, later: dict[str, Any]
) -> None:
    found = search(bare.model_copy(update=later))
    names = [candidate.variant.name for candidate in found]
    assert len(set(names)) == len(names)
    assert len(contenders(bare.model_copy(update=later))) <= MOST_VARIANTS
    assert all(0 < len(candidate.reason) <= 256 for candidate in found)
    assert not any(candidate.taken and candidate.lacks for candidate in found)


@given(BARE, LATER, LATER)
def test_knowing_more_takes_away_and_never_brings_back(
    bare: SearchFacts, some: dict[str, Any], more: dict[str, Any]
) -> None:
    before = search(bare.model_copy(update=some))
    after = search(bare.model_copy(update=more | some))
    for early, late in zip(before, after, strict=True):
        assert early.taken or not late.taken
        assert early.shown or not late.shown


@given(st.sampled_from(ModelFormat), st.booleans(), st.sampled_from(ObjectiveMetric))
def test_the_plans_of_auto_are_legal_and_say_that_auto_chose(
    model_format: ModelFormat, calibrated: bool, metric: ObjectiveMetric
) -> None:
    data = {"calibration": {"uri": "s3://data/calibration/"}} if calibrated else {}
    spec = ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m", "sha256": "0" * 64, "format": model_format},
            "inputs": [{"name": "x", "shape": [1, 3]}],
            "data": data,
            "objective": {"metric": metric},
        }
    )
    plan = prepare_plan(spec, "s3://out/x")
    told = measure_plan(spec, target="t", prepared="sha256:" + "1" * 64, output_uri="s3://out/x")
    assert (
        plan.search
        == told.search
        == facts(model_format=model_format, calibrated=calibrated, aim=SearchAim.of(metric))
    )
    assert plan.search is not None
    assert plan.variants == told.variants == contenders(plan.search)
    # What Auto lists a user may list.
    listed = spec.to_api() | {"variants": [v.to_api() for v in plan.variants]}
    by_hand = prepare_plan(ModelOptimizationSpec.model_validate(listed), "s3://out/x")
    assert by_hand.variants == plan.variants
    assert by_hand.search is None
    assert PLAN_ADAPTER.validate_json(plan.model_dump_json(by_alias=True)) == plan
