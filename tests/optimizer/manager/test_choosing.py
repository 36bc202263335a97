"""The order in which forms are tried, as a pure function of manifest and machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mopt_optimizer.errors import SpecError
from mopt_optimizer.manager import Form, FormFile, Machine, Manifest, Needs, Optimization, Verdict
from mopt_optimizer.manager.choosing import Attempt, Candidate, candidates, parse_optimization

MACHINE = Machine(
    cpu="CPU A",
    cpu_features=frozenset({"avx2"}),
    architecture="x86_64",
    runtimes=frozenset({"PyTorch", "ONNXRuntime", "OpenVINO"}),
)


def form(name: str, runtime: str = "ONNXRuntime", precision: str = "FP32", **fields: Any) -> Form:
    suffix = "pt2" if runtime == "PyTorch" else "onnx"
    file = FormFile(name=f"model.{suffix}", digest=f"sha256:{'0' * 64}", size_bytes=1)
    return Form(name=name, runtime=runtime, precision=precision, files=[file], **fields)


BASE = form("baseline", "PyTorch")


def order(
    *forms: Form, asked: str = "auto", machine: Machine = MACHINE, **manifest: Any
) -> tuple[list[str], dict[str | None, str]]:
    """Return the names to try, and the reasons by the names that are passed over."""
    found = list(
        candidates(Manifest(forms=[BASE, *forms], **manifest), Optimization(asked), machine)
    )
    tried = [entry.form.name for entry in found if isinstance(entry, Candidate)]
    return tried, {entry.form: entry.reason for entry in found if isinstance(entry, Attempt)}


def test_auto_takes_what_measurement_selected() -> None:
    fast = form("fast", speedup=3.0)
    chosen = form("chosen", speedup=2.0)
    assert order(fast, chosen, selected="chosen")[0] == ["chosen", "fast", "baseline"]
    assert order(fast, chosen)[0] == ["fast", "chosen", "baseline"]
    assert order(fast, selected="baseline")[0] == ["baseline", "fast"]


def test_auto_never_takes_what_was_found_slower() -> None:
    assert order(form("slow", speedup=0.9), form("even", speedup=1.0))[0] == ["baseline"]


def test_auto_takes_reduced_precision_only_where_its_quality_is_known() -> None:
    int8 = form("int8", precision="INT8", speedup=4.0)
    tried, reasons = order(int8)
    assert tried == ["baseline"]
    assert "ask for it with 'quantize'" in reasons["int8"]
    passed = int8.model_copy(update={"verdict": Verdict.PASSED})
    assert order(passed)[0] == ["int8", "baseline"]


@pytest.mark.parametrize("asked", ["auto", "quantize"])
def test_rejected_forms_are_never_taken(asked: str) -> None:
    bad = form("bad", precision="INT8", verdict=Verdict.REJECTED, message="QualityGate: 31 dB")
    tried, reasons = order(bad, asked=asked)
    assert tried == ["baseline"]
    assert reasons["bad"] == "was rejected when it was measured: QualityGate: 31 dB"


def test_quantize_prefers_known_quality_then_speed_then_falls_back_to_onnx() -> None:
    forms = [
        form("guess", precision="INT8", speedup=9.0),
        form("slower", precision="INT8", verdict=Verdict.PASSED, speedup=2.0),
        form("faster", precision="INT8", verdict=Verdict.PASSED, speedup=3.0),
        form("onnx"),
    ]
    assert order(*forms, asked="quantize")[0] == ["faster", "slower", "guess", "onnx", "baseline"]


def test_unmeasured_onnx_prefers_the_runtime_that_usually_wins() -> None:
    forms = [form("ort"), form("ov", "OpenVINO")]
    assert order(*forms, asked="onnx")[0] == ["ov", "ort", "baseline"]
    timed = form("ort", speedup=1.2)
    assert order(timed, forms[1], asked="onnx")[0] == ["ort", "ov", "baseline"]


def test_none_takes_the_baseline_alone() -> None:
    assert order(form("onnx"), asked="none") == (["baseline"], {})


def test_requests_without_a_form_say_so() -> None:
    assert order(asked="tensorrt")[1] == {None: "no ONNX form in FP32 is registered"}
    found = list(candidates(Manifest(forms=[BASE]), Optimization.TENSORRT, MACHINE))
    assert isinstance(found[0], Attempt)
    assert found[0].reason == "no TensorRT form is registered"


def test_tensorrt_without_the_library_falls_back_to_onnx() -> None:
    engine = form("engine", "TensorRT", "FP16", needs=Needs(gpu=True))
    tried, reasons = order(engine, form("onnx"), asked="tensorrt")
    assert (tried, reasons["engine"]) == (
        ["onnx", "baseline"],
        "needs a GPU, and this machine has none",
    )
    with_gpu = replace(MACHINE, gpus=1)
    _, reasons = order(engine, form("onnx"), asked="tensorrt", machine=with_gpu)
    assert reasons["engine"] == "TensorRT is not installed"


@pytest.mark.parametrize(
    ("broken", "changes", "reason"),
    [
        (form("f", "OpenVINO", "BF16", verdict=Verdict.PASSED), {}, "no bf16 arithmetic"),
        (
            form("f", "OpenVINO", "INT8", verdict=Verdict.PASSED, float_precision="BF16"),
            {},
            "no bf16 arithmetic",
        ),
        (form("f", "OpenVINO"), {"runtimes": frozenset({"PyTorch"})}, "OpenVINO is not installed"),
        (form("f", needs=Needs(gpu=True)), {}, "needs a GPU"),
        (
            form("f", needs=Needs(architecture="aarch64")),
            {},
            "is for aarch64, this machine is x86_64",
        ),
        (
            form("f", needs=Needs(cpu_features=["avx2", "amx_int8"])),
            {},
            "needs amx_int8, which the CPU lacks",
        ),
        (
            form("f", precision="INT8", verdict=Verdict.PASSED, needs=Needs(wide_sums=True)),
            {},
            "its INT8 products overflow on this CPU",
        ),
        (
            form("f", "PyTorch", "FP16", verdict=Verdict.PASSED),
            {},
            "PyTorch does not compute in FP16 here",
        ),
        (
            form("f", "PyTorch", "INT8", verdict=Verdict.PASSED),
            {},
            "PyTorch compiles it, and there is no C++ compiler",
        ),
        (
            form("f", "Quantum"),
            {"runtimes": frozenset({"PyTorch", "Quantum"})},
            "this version of mopt cannot open Quantum forms",
        ),
    ],
)
def test_forms_that_do_not_fit_are_passed_over(
    broken: Form, changes: dict[str, Any], reason: str
) -> None:
    tried, reasons = order(broken, machine=replace(MACHINE, **changes))
    assert tried == ["baseline"]
    assert reason in reasons["f"]


def test_forms_that_fit_by_a_feature_are_tried() -> None:
    bf16 = form("bf16", "OpenVINO", "BF16", verdict=Verdict.PASSED)
    amx = replace(MACHINE, cpu_features=frozenset({"amx_bf16"}))
    assert order(bf16, machine=amx)[0] == ["bf16", "baseline"]


@pytest.mark.parametrize(
    "machine",
    [
        replace(MACHINE, cpu_features=frozenset({"avx_vnni"})),
        replace(MACHINE, cpu_features=frozenset({"asimd"}), architecture="aarch64"),
    ],
    ids=["VNNI", "ARM"],
)
def test_int8_of_full_range_fits_cpus_that_add_in_32_bits(machine: Machine) -> None:
    int8 = form("int8", precision="INT8", verdict=Verdict.PASSED, needs=Needs(wide_sums=True))
    assert order(int8, machine=machine)[0] == ["int8", "baseline"]
    needing = form("f", needs=Needs(cpu_features=["avx2"], architecture="x86_64"))
    assert order(needing)[0] == ["f", "baseline"]


def test_reason_says_what_was_measured_where() -> None:
    fast = form("fast", speedup=2.5)
    manifest = Manifest(forms=[BASE, fast], selected="fast", measured_on="CPU B")
    first = next(candidates(manifest, Optimization.AUTO, MACHINE))
    assert first.reason == (
        "chosen by measurement, 2.5 times the baseline's speed, measured on CPU B, this is CPU A"
    )


def test_reason_admits_what_was_not_measured() -> None:
    manifest = Manifest(forms=[BASE, form("int8", precision="INT8")])
    first = next(candidates(manifest, Optimization.QUANTIZE, MACHINE))
    assert first.reason == "its speed was never measured, its quality was never measured"


def test_unknown_requests_are_refused() -> None:
    with pytest.raises(SpecError, match="'fast' is none of auto, quantize, onnx, tensorrt, none"):
        parse_optimization("fast")


def test_what_pytorch_compiles_needs_a_compiler() -> None:
    fast = form("fast", "PyTorch", speedup=2.0, compiled=True)
    tried, reasons = order(fast)
    assert tried == ["baseline"]
    assert "no C++ compiler (g++)" in reasons["fast"]
    assert order(fast, machine=replace(MACHINE, compiler="12.2.0"))[0] == ["fast", "baseline"]
