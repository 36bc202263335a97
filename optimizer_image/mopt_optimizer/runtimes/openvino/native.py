"""Which precisions OpenVINO really computes in on a CPU."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mopt_optimizer.machine.system import System, has_native_bf16
from mopt_optimizer.onnx_quantization.qdq import has_native_int8

_FP16 = frozenset({"avx512_fp16", "asimdhp", "sve"})


@dataclass(frozen=True)
class NativeSupport:
    """What the CPU has instructions for.

    Attributes:
        bf16: Without it OpenVINO would compute in FP32 under the name of BF16; the runner refuses.
        int8: Without it INT8 runs through 16-bit instructions, and may be slower than FP32.
        fp16: Without it FP16 files are smaller, but computed in FP32.
    """

    bf16: bool
    int8: bool
    fp16: bool


def native_support(features: Collection[str] | None = None) -> NativeSupport:
    """Return what a CPU with these features computes natively.

    Args:
        features: As hardware.cpu_features returns them; this machine's when None.
    """
    if features is None:
        features = System().hardware({}).cpu_features
    return NativeSupport(
        bf16=has_native_bf16(list(features)),
        int8=has_native_int8(features),
        fp16=not _FP16.isdisjoint(features),
    )
