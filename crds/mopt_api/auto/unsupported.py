"""Which variants a kind of target can run or build, and on which GPUs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.enums import ExecutionProvider, Precision, Runtime, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.runtimes import RUNTIMES
from mopt_api.targets import KINDS
from mopt_api.variants import Variant

Capability = tuple[int, int]


@dataclass(frozen=True)
class Unsupported:
    """Why a target does not support a variant."""

    reason: VariantReason
    message: str


NO_BF16 = Unsupported(
    VariantReason.NO_NATIVE_BF16,
    "the CPU has neither avx512_bf16 nor amx_bf16; it would compute in FP32",
)
NO_COMPILER = Unsupported(
    VariantReason.NO_COMPILER,
    "PyTorch needs a C++ compiler to compile; neither g++ nor the one that CXX names is here",
)
_NO_ARITHMETIC = {
    Precision.BF16: VariantReason.NO_NATIVE_BF16,
    Precision.FP8: VariantReason.NO_NATIVE_FP8,
}


def capability(text: str) -> Capability:
    """Return a compute capability, such as 8.9, as comparable numbers."""
    major, minor = text.split(".")
    return int(major), int(minor)


def unsupported_on_kind(variant: Variant, kind: TargetKind) -> Unsupported | None:
    """Return why a kind of target does not support a variant; None where it does."""
    if variant.runs_on(kind):
        return None
    info, target = RUNTIMES[variant.runtime], KINDS[kind]
    if target.device is not None and info.computes(variant.precision, kind):
        message = (
            f"executionProvider {variant.execution_provider} does not use the target's GPU; omit "
            f"it, or use {target.providers[0]}"
        )
    else:
        message = target.unsupported.format(runtime=info.title)
    return Unsupported(VariantReason.NO_ACCELERATOR, message)


def unsupported_on_gpu(
    variant: Variant, capabilities: Sequence[str], kind: TargetKind = TargetKind.GPU
) -> Unsupported | None:
    """Return why a GPU, or each of several, does not support a variant; None where one does.

    Args:
        capabilities: Compute capabilities; at least one.
        kind: Of the target.
    """
    here = " and ".join(capabilities)
    runtime = _library(variant)
    oldest = RUNTIMES[runtime].oldest_gpu
    if oldest is not None and _all_older(capabilities, oldest):
        return Unsupported(
            VariantReason.NO_ACCELERATOR,
            f"{RUNTIMES[runtime].title} needs compute capability {oldest} or newer; here is {here}",
        )
    oldest = KINDS[kind].oldest.get(variant.precision)
    if oldest is None or not _all_older(capabilities, oldest):
        return None
    return Unsupported(
        _NO_ARITHMETIC.get(variant.precision, VariantReason.NO_ACCELERATOR),
        f"GPUs compute {variant.precision} from compute capability {oldest} on; here is {here}",
    )


def _library(variant: Variant) -> Runtime:
    """Return the runtime whose library computes: ONNX Runtime may hand the graph to TensorRT."""
    if variant.execution_provider is ExecutionProvider.TENSORRT:
        return Runtime.TENSORRT
    return variant.runtime


def _all_older(capabilities: Sequence[str], oldest: str) -> bool:
    return max(map(capability, capabilities)) < capability(oldest)
