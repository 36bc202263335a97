"""What a form that failed costs, and the reason of a child's end."""

from __future__ import annotations

import signal

import pytest

from mopt_api.enums import Calibrator, ModelFormat, Precision, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.reasons import Reason
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.sandbox import ChildDied
from mopt_optimizer.stages.prepare.assignment import assign
from mopt_optimizer.stages.prepare.making import death
from mopt_optimizer.stages.prepare.messages import Quantized

pytestmark = pytest.mark.optimizer


def test_failed_quantization_fails_its_variants_only() -> None:
    percentile = Quantization(calibrator=Calibrator.PERCENTILE)
    variants = [
        Variant(name="a", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
        Variant(name="b", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8),
        Variant(
            name="c",
            runtime=Runtime.OPENVINO,
            precision=Precision.INT8,
            quantization=percentile,
        ),
    ]
    results = [
        Quantized(name="int8-minmax-perchannel", error="no kernel"),
        Quantized(name="int8-percentile-perchannel", file="x.onnx"),
    ]
    found = assign(variants, ModelFormat.ONNX, results, calibrated=True).by_kind[TargetKind.CPU]
    assert found.artifacts == {"a": "fp32", "c": "int8-percentile-perchannel"}
    (failed,) = found.skipped
    assert (failed.name, failed.state) == ("b", VariantState.FAILED)
    assert (failed.reason, failed.message) == (VariantReason.BUILD_FAILED, "no kernel")


@pytest.mark.parametrize(
    ("returncode", "reason"),
    [
        (-signal.SIGSEGV, Reason.INVALID_MODEL),
        (-signal.SIGABRT, Reason.INVALID_MODEL),
        (-signal.SIGKILL, Reason.OUT_OF_MEMORY),
        (1, Reason.INTERNAL_ERROR),
    ],
)
def test_end_of_the_child_has_a_reason(returncode: int, reason: Reason) -> None:
    error = death(ChildDied(returncode), "the limit of 4 GiB")
    assert error.reason is reason
    assert (reason is Reason.OUT_OF_MEMORY) == ("the limit of 4 GiB" in str(error))


def test_a_child_that_was_ended_here_was_not_short_of_memory() -> None:
    error = death(ChildDied(-signal.SIGKILL, "answered what is no answer"), "the limit")
    assert error.reason is Reason.INVALID_MODEL
    assert str(error).endswith("answered what is no answer and was ended")
