"""Which variants a kind of target can run or build at all, and on which GPUs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.enums import ExecutionProvider, Precision, Runtime, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.variants import Variant

Capability = tuple[int, int]

OLDEST_TENSORRT: Capability = (7, 5)
"""Compute capability of the oldest GPUs that TensorRT builds for: Turing."""
OLDEST_BF16: Capability = (8, 0)
OLDEST_FP8: Capability = (8, 9)


@dataclass(frozen=True)
class Lack:
    """Something that a variant needs and a target has not."""

    reason: VariantReason
    message: str


NO_BF16 = Lack(
    VariantReason.NO_NATIVE_BF16,
    "the CPU has neither avx512_bf16 nor amx_bf16; FP32 would run under that name",
)
NO_COMPILER = Lack(
    VariantReason.NO_COMPILER,
    "PyTorch compiles with a C++ compiler: neither g++ nor what CXX names is here",
)


def capability(text: str) -> Capability:
    """Return a compute capability, such as 8.9, as numbers that compare."""
    major, minor = text.split(".")
    return int(major), int(minor)


def lack_of_kind(variant: Variant, kind: TargetKind) -> Lack | None:
    """Return why a variant is nothing for a kind of target; None where it is something."""
    message = _misfit(variant, kind)
    return None if message is None else Lack(VariantReason.NO_ACCELERATOR, message)


def lack_of_gpu(variant: Variant, capabilities: Sequence[str]) -> Lack | None:
    """Return what a GPU lacks for a variant, or each of several GPUs; None where one has it.

    Args:
        capabilities: Compute capabilities; at least one.
    """
    newest = max(capability(text) for text in capabilities)
    here = " and ".join(capabilities)
    if _of_tensorrt(variant) and newest < OLDEST_TENSORRT:
        return Lack(
            VariantReason.NO_ACCELERATOR,
            f"TensorRT needs compute capability {_text(OLDEST_TENSORRT)} or newer; here is {here}",
        )
    needs = {
        Precision.BF16: (OLDEST_BF16, VariantReason.NO_NATIVE_BF16),
        Precision.FP8: (OLDEST_FP8, VariantReason.NO_NATIVE_FP8),
    }
    if variant.precision not in needs:
        return None
    oldest, reason = needs[variant.precision]
    if newest >= oldest:
        return None
    words = f"GPUs compute {variant.precision} from compute capability {_text(oldest)} on"
    return Lack(reason, f"{words}; here is {here}")


def _misfit(variant: Variant, kind: TargetKind) -> str | None:
    if kind is TargetKind.CPU:
        if variant.gpu_only:
            return "it needs a target with an NVIDIA GPU, and this one has CPUs alone"
        return None
    if kind is TargetKind.BUILD_ONLY:
        if variant.runtime is not Runtime.TENSORRT:
            return "a BuildOnly target builds TensorRT engines, and runs nothing"
        return None
    if variant.runtime is Runtime.OPENVINO:
        return "OpenVINO does not use the target's GPU; list it for a target without one"
    if variant.execution_provider is ExecutionProvider.CPU:
        return "executionProvider CPU does not use the target's GPU; leave it out, or take CUDA"
    return None


def _of_tensorrt(variant: Variant) -> bool:
    return Runtime.TENSORRT in (variant.runtime, variant.execution_provider)


def _text(oldest: Capability) -> str:
    return f"{oldest[0]}.{oldest[1]}"
