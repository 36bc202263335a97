"""Which variants are nothing for a kind of target, or for a GPU, and why."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.auto.unsupported import capability, unsupported_on_gpu, unsupported_on_kind
from mopt_api.enums import TargetKind
from mopt_api.figures import VariantReason
from mopt_api.variants import Variant


def variant(runtime: str, precision: str, **fields: Any) -> Variant:
    wire = {"name": "v", "runtime": runtime, "precision": precision} | fields
    return Variant.model_validate(wire)


EVERYWHERE = [
    variant("PyTorch", "FP32"),
    variant("PyTorch", "INT8"),
    variant("PyTorch", "BF16", torchMode="Compiled"),
    variant("ONNXRuntime", "FP16"),
]
ON_GPUS = [
    variant("TensorRT", "FP32"),
    variant("PyTorch", "FP16"),
    variant("PyTorch", "FP8"),
    variant("ONNXRuntime", "FP16", executionProvider="CUDA"),
    variant("ONNXRuntime", "INT8", executionProvider="TensorRT"),
]
ON_CPUS = [
    variant("OpenVINO", "INT8"),
    variant("ONNXRuntime", "FP32", executionProvider="CPU"),
]


@pytest.mark.parametrize(
    ("kind", "suited"),
    [(TargetKind.CPU, EVERYWHERE + ON_CPUS), (TargetKind.GPU, EVERYWHERE + ON_GPUS)],
)
def test_what_a_target_runs(kind: TargetKind, suited: list[Variant]) -> None:
    for one in EVERYWHERE + ON_GPUS + ON_CPUS:
        unsupported = unsupported_on_kind(one, kind)
        assert (unsupported is None) == (one in suited), one
        assert unsupported is None or unsupported.reason is VariantReason.NO_ACCELERATOR


def test_what_only_builds_takes_tensorrt_alone() -> None:
    everything = EVERYWHERE + ON_GPUS + ON_CPUS
    built = [one for one in everything if unsupported_on_kind(one, TargetKind.BUILD_ONLY) is None]
    assert built == [variant("TensorRT", "FP32")]


@pytest.mark.parametrize(
    ("one", "oldest", "older", "reason"),
    [
        (variant("TensorRT", "BF16"), "8.0", "7.5", VariantReason.NO_NATIVE_BF16),
        (variant("PyTorch", "BF16"), "8.0", "7.5", VariantReason.NO_NATIVE_BF16),
        (variant("TensorRT", "FP8"), "8.9", "8.6", VariantReason.NO_NATIVE_FP8),
        (variant("PyTorch", "FP8"), "10.0", "8.7", VariantReason.NO_NATIVE_FP8),
        (variant("TensorRT", "INT8"), "7.5", "7.2", VariantReason.NO_ACCELERATOR),
    ],
)
def test_the_oldest_gpu_that_computes_it(
    one: Variant, oldest: str, older: str, reason: VariantReason
) -> None:
    assert unsupported_on_gpu(one, [oldest]) is None
    assert unsupported_on_gpu(one, [older, oldest]) is None
    unsupported = unsupported_on_gpu(one, [older])
    assert unsupported is not None
    assert unsupported.reason is reason
    assert unsupported.message.endswith(f"here is {older}")


def test_cuda_alone_asks_for_no_capability() -> None:
    assert (
        unsupported_on_gpu(variant("ONNXRuntime", "FP16", executionProvider="CUDA"), ["6.1"])
        is None
    )


def test_capabilities_compare_as_numbers() -> None:
    assert capability("12.0") > capability("8.9") > capability("8.6")
