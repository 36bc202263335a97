"""The kinds of targets: one row each, with the devices of their Jobs and what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .enums import ExecutionProvider, Precision, TargetKind

GPU_DEVICE = "nvidia.com/"
"""Of NVIDIA's device plugin: nvidia.com/gpu, or a MIG slice such as nvidia.com/mig-1g.10gb."""


@dataclass(frozen=True)
class KindInfo:
    """One kind of target.

    Attributes:
        pool: MODULE:NAME of the entries that Auto knows, a tuple of mopt_api.auto.rules.Entry.
        unsupported: Why it does not support a variant; {runtime} is the title of the variant's
            runtime.
        device: Prefix of the resources with which a Pod requests its accelerator; None where its
            Jobs have none.
        providers: Execution providers of ONNX Runtime; the first is the default.
        oldest: The compute capability, such as 8.9, from which on its GPUs compute in a precision;
            all do in a precision that is not listed.
        runs: Whether variants run there; else they are only built.
    """

    pool: str
    unsupported: str
    device: str | None = None
    providers: tuple[ExecutionProvider, ...] = ()
    oldest: Mapping[Precision, str] = field(default_factory=dict)
    runs: bool = True


_NVIDIA = {Precision.BF16: "8.0", Precision.FP8: "8.9"}

KINDS: dict[TargetKind, KindInfo] = {
    TargetKind.CPU: KindInfo(
        pool="mopt_api.auto.cpu:CPU_POOL",
        unsupported="it needs a target with an NVIDIA GPU; this one has only CPUs",
        providers=(ExecutionProvider.CPU,),
    ),
    TargetKind.GPU: KindInfo(
        pool="mopt_api.auto.nvidia:GPU_POOL",
        unsupported="{runtime} does not use the target's GPU; list it for a target without one",
        device=GPU_DEVICE,
        providers=(ExecutionProvider.CUDA, ExecutionProvider.TENSORRT),
        oldest=_NVIDIA,
    ),
    TargetKind.BUILD_ONLY: KindInfo(
        pool="mopt_api.auto.build:BUILD_POOL",
        unsupported="a BuildOnly target builds TensorRT engines and runs nothing",
        oldest=_NVIDIA,
        runs=False,
    ),
}
