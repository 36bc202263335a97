"""The rows of the runtimes and of the kinds of targets, and what is made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from cel import evaluate
from pydantic import ValidationError

from mopt_api.auto.search import pool
from mopt_api.auto.unsupported import unsupported_on_gpu, unsupported_on_kind
from mopt_api.base import Rule
from mopt_api.enums import (
    Calibrator,
    ExecutionProvider,
    FloatPrecision,
    Precision,
    QuantizationMethod,
    QuantizationMode,
    Runtime,
    TargetKind,
    TorchMode,
)
from mopt_api.jobs.plan import prepare_plan
from mopt_api.runtime_rules import (
    budget_rule,
    calibrator_rule,
    float_precision_rule,
    method_rule,
    mode_rule,
    precision_rule,
    provider_rule,
    quantization_rule,
    torch_mode_rule,
    weight_only_rule,
)
from mopt_api.runtimes import (
    RUNTIMES,
    RuntimeInfo,
    preparing_distributions,
    runtime_distributions,
    runtime_title,
)
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.targets import KINDS, KindInfo
from mopt_api.variants import Quantization, Variant

BUILDERS: tuple[Callable[[], Rule], ...] = (
    precision_rule,
    quantization_rule,
    mode_rule,
    weight_only_rule,
    method_rule,
    float_precision_rule,
    calibrator_rule,
    budget_rule,
    torch_mode_rule,
    provider_rule,
)
TOY = RuntimeInfo(
    title="Toy Engine",
    libraries={"toy": ("toy-engine",)},
    precisions=(Precision.FP32, Precision.FP8),
    kinds=(TargetKind.CPU,),
    quantized=(Precision.FP8,),
    dynamic=True,
    methods=(QuantizationMethod.QDQ, QuantizationMethod.NNCF),
    calibrators=(),
    torch_modes=(TorchMode.EAGER,),
    providers=(ExecutionProvider.CPU,),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Return a runtime that an extension adds."""
    runtime = Runtime.add("Toy")
    monkeypatch.setitem(RUNTIMES, runtime, TOY)
    return runtime


def quantizations() -> Iterator[dict[str, Any] | None]:
    """Yield each way to quantize that spec.quantization's own rules take."""
    yield None
    yield {}
    for mode, method, calibrator in product(QuantizationMode, QuantizationMethod, Calibrator):
        made = Quantization.model_construct(mode=mode, method=method, calibrator=calibrator)
        if all(rule.check(made) for rule in Quantization.RULES):
            yield {"mode": mode.value, "method": method.value, "calibrator": calibrator.value}
    yield {"searchBudgetSeconds": 60}
    for rest in FloatPrecision:
        yield {"floatPrecision": rest.value}


def documents() -> Iterator[dict[str, Any]]:
    """Yield a variant in wire form for each combination that bears on a rule."""
    choices = product(
        RUNTIMES,
        Precision,
        quantizations(),
        (None, *TorchMode),
        (None, *ExecutionProvider),
    )
    for runtime, precision, quantization, mode, provider in choices:
        fields = {"quantization": quantization, "torchMode": mode, "executionProvider": provider}
        yield {"name": "v", "runtime": runtime.value, "precision": precision.value} | {
            name: getattr(value, "value", value)
            for name, value in fields.items()
            if value is not None
        }


def variant(wire: dict[str, Any]) -> Variant:
    """Return a variant that no rule was applied to."""
    quantization = wire.get("quantization")
    return Variant.model_construct(
        name="v",
        runtime=Runtime(wire["runtime"]),
        precision=Precision(wire["precision"]),
        quantization=None if quantization is None else Quantization.model_validate(quantization),
        torch_mode=TorchMode(wire["torchMode"]) if "torchMode" in wire else None,
        execution_provider=(
            ExecutionProvider(wire["executionProvider"]) if "executionProvider" in wire else None
        ),
    )


def assert_cel_and_python_agree() -> None:
    rules = [build() for build in BUILDERS]
    verdicts: dict[str, set[bool]] = {rule.message: set() for rule in rules}
    for wire in documents():
        built = variant(wire)
        for rule in rules:
            said = evaluate(rule.cel, wire)
            assert said == rule.check(built), (rule.cel, wire)
            verdicts[rule.message].add(said)
    assert all(found == {True, False} for found in verdicts.values()), verdicts


def test_the_crds_rules_say_of_every_variant_what_python_says() -> None:
    assert_cel_and_python_agree()


@pytest.mark.usefixtures("toy")
def test_rules_that_are_made_with_a_further_runtime_agree_too() -> None:
    assert_cel_and_python_agree()
    assert "Toy FP32 and FP8" in precision_rule().message
    assert method_rule().message == "quantization method NNCF needs runtime OpenVINO or Toy"


def test_a_further_runtimes_variants_are_held_to_its_row(toy: Runtime) -> None:
    made = Variant(name="v", runtime=toy, precision=Precision.FP8)
    assert made.runs_on(TargetKind.CPU)
    assert not made.compiled
    with pytest.raises(ValidationError, match="supported: "):
        Variant(name="v", runtime=toy, precision=Precision.INT8)
    unsupported = unsupported_on_kind(made, TargetKind.GPU)
    assert unsupported is not None
    assert unsupported.message.startswith("Toy Engine does not use the target's GPU")


def test_every_runtime_and_kind_has_a_row() -> None:
    assert list(RUNTIMES) == list(Runtime)
    assert list(KINDS) == list(TargetKind)


@pytest.mark.parametrize("runtime", list(Runtime))
def test_a_row_does_not_contradict_itself(runtime: Runtime) -> None:
    info = RUNTIMES[runtime]
    assert set(info.quantized) <= set(info.precisions)
    assert set(info.compiled) <= set(info.precisions)
    for kind, lacking in info.lacking.items():
        assert kind in info.kinds
        assert set(lacking) <= set(info.precisions)
    assert all(any(info.computes(p, kind) for kind in info.kinds) for p in info.precisions)


def test_titles_are_what_people_write_and_unknown_ones_stay() -> None:
    assert [runtime_title(runtime) for runtime in Runtime] == [
        "PyTorch",
        "ONNX Runtime",
        "OpenVINO",
        "TensorRT",
    ]
    assert runtime_title("Later") == "Later"
    assert RUNTIMES[Runtime.PYTORCH].baseline_title == "PyTorch FP32 eager"
    assert RUNTIMES[Runtime.ONNX_RUNTIME].baseline_title == "ONNX Runtime FP32"


def test_what_keys_name_keeps_its_order() -> None:
    """Another order or name would find nothing that was stored before."""
    assert list(runtime_distributions().items()) == [
        ("torch", ("torch",)),
        ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
        ("openvino", ("openvino",)),
        ("tensorrt", ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")),
        ("tensorrt_rtx", ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12")),
    ]
    assert preparing_distributions() == (
        "torch",
        "torchao",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "onnx-ir",
        "openvino",
        "nncf",
    )


@pytest.mark.parametrize("kind", list(TargetKind))
def test_every_variant_that_auto_takes_runs_on_its_kind(kind: TargetKind) -> None:
    entries = pool(kind)
    assert len({entry.variant.name for entry in entries}) == len(entries)
    assert any(entry.variant.runs_on(kind) for entry in entries)
    for entry in entries:
        if not entry.variant.runs_on(kind):
            # Listed to say why it is left out.
            assert unsupported_on_kind(entry.variant, kind) is not None
            assert not entry.needs


def test_a_further_kind_of_target_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = TargetKind.add("Toy")
    monkeypatch.setitem(
        KINDS,
        kind,
        KindInfo(
            pool="mopt_api.auto.build:BUILD_POOL",
            unsupported="{runtime} is not for toys",
            device="toy.example/",
            providers=(ExecutionProvider.TENSORRT,),
            oldest={Precision.FP16: "2.0"},
        ),
    )
    row = RUNTIMES[Runtime.ONNX_RUNTIME]
    monkeypatch.setitem(
        RUNTIMES, Runtime.ONNX_RUNTIME, RuntimeInfo(**vars(row) | {"kinds": (*row.kinds, kind)})
    )
    wire = {"name": "v", "runtime": "ONNXRuntime", "precision": "FP16"}
    half = Variant.model_validate(wire)
    assert unsupported_on_kind(half, kind) is None
    unsupported = unsupported_on_kind(
        Variant.model_validate(wire | {"executionProvider": "CUDA"}), kind
    )
    assert unsupported is not None
    assert unsupported.message.endswith("omit it, or use TensorRT")
    unsupported = unsupported_on_kind(Variant.model_validate(wire | {"runtime": "PyTorch"}), kind)
    assert unsupported is not None
    assert unsupported.message == "PyTorch is not for toys"
    assert unsupported_on_gpu(half, ["2.1"], kind) is None
    assert unsupported_on_gpu(half, ["1.9"], kind) is not None
    assert unsupported_on_gpu(half, ["7.5"]) is None
    assert next(entry.variant.name for entry in pool(kind)) == "tensorrt-fp16"


def test_a_plan_keeps_a_further_kind_and_its_contenders(
    monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any]
) -> None:
    kind = TargetKind.add("Toy")
    row = KindInfo(pool="mopt_api.auto.cpu:CPU_POOL", unsupported="{runtime} is not for toys")
    monkeypatch.setitem(KINDS, kind, row)
    plan = prepare_plan(ModelOptimizationSpec.model_validate(spec), "s3://b/o", kinds=[kind])
    assert plan.kinds == [kind]
    assert "openvino-fp32" in [variant.name for variant in plan.variants]
