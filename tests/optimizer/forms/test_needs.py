"""Which measured forms need a CPU that adds INT8 products in 32 bits."""

from __future__ import annotations

from typing import Any

import pytest
from served_forms import result

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.forms.needs import needs_wide_sums

VNNI = {"architecture": "x86_64", "cpuFeatures": ["avx2", "avx512_vnni"]}


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (VNNI, True),
        (VNNI | {"cpuFeatures": ["amx_int8"]}, True),
        (VNNI | {"cpuFeatures": ["avx2"]}, False),
        ({"architecture": "aarch64", "cpuFeatures": ["asimd"]}, False),
        ({}, False),
    ],
    ids=["VNNI", "AMX", "AVX2 alone: of 7 bits", "ARM", "not known"],
)
def test_int8_that_was_made_for_the_cpu_that_measured(
    hardware: dict[str, Any], expected: bool
) -> None:
    measured = result(precision=Precision.INT8, hardware=hardware)
    assert needs_wide_sums(measured, measured.variants[0]) is expected


@pytest.mark.parametrize(
    ("runtime", "precision", "quantization", "expected"),
    [
        (Runtime.ONNX_RUNTIME, Precision.FP32, None, False),
        (Runtime.OPENVINO, Precision.BF16, None, False),
        (Runtime.OPENVINO, Precision.INT8, None, True),
        (Runtime.OPENVINO, Precision.INT8, {"method": "NNCF"}, True),
        (Runtime.PYTORCH, Precision.INT8, None, True),
        (Runtime.ONNX_RUNTIME, Precision.INT8, {"mode": "WeightOnly"}, False),
    ],
)
def test_forms_that_multiply_8_by_8_bits(
    runtime: Runtime, precision: Precision, quantization: dict[str, str] | None, expected: bool
) -> None:
    measured = result(runtime, precision, quantization=quantization, hardware=VNNI)
    assert needs_wide_sums(measured, measured.variants[0]) is expected


def test_on_a_gpu_the_cpu_does_not_matter() -> None:
    measured = result(precision=Precision.INT8, kind="GPU", hardware=VNNI)
    assert not needs_wide_sums(measured, measured.variants[0])


@pytest.mark.parametrize("plan", [None, {"stage": "Measure"}], ids=["none", "of another version"])
def test_without_a_plan_all_int8_is_taken_for_such(plan: dict[str, str] | None) -> None:
    measured = result(precision=Precision.INT8, hardware=VNNI, plan=plan)
    assert needs_wide_sums(measured, measured.variants[0])
