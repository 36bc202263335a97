"""The variants that Auto knows for targets with an NVIDIA GPU. Pure.

None of the reasons is based on a measurement: no GPU was available. They follow from the kernels of
the libraries; the measurement on the target finds the fastest variant.
"""

from __future__ import annotations

from dataclasses import replace

from mopt_api.enums import ExecutionProvider, Precision, Runtime, TargetKind, TorchMode
from mopt_api.variants import Variant

from .cpu import CPU_POOL
from .rules import (
    Entry,
    Need,
    Rule,
    calibration,
    compiler,
    has_weighted_layers,
    is_exported_program,
    is_mostly_linear,
    left_out,
    on_gpu,
)
from .unsupported import unsupported_on_kind


def _tensorrt(precision: Precision, why: str) -> Entry:
    quantized = precision in (Precision.INT8, Precision.FP8)
    variant = Variant(
        name=f"tensorrt-{precision.lower()}", runtime=Runtime.TENSORRT, precision=precision
    )
    rules: tuple[Rule, ...] = (has_weighted_layers,) if quantized else ()
    needs: tuple[Need, ...] = (calibration,) if quantized else ()
    return Entry(variant, why, rules, (on_gpu(variant), *needs))


def _pytorch(name: str, precision: Precision, why: str, *rules: Rule) -> Entry:
    # 8 bits are compiled in any case.
    half = precision in (Precision.FP16, Precision.BF16)
    variant = Variant(
        name=name,
        runtime=Runtime.PYTORCH,
        precision=precision,
        torch_mode=TorchMode.COMPILED if half else None,
    )
    return Entry(variant, why, (is_exported_program, *rules), (on_gpu(variant), compiler))


def _onnxruntime(
    name: str, precision: Precision, why: str, provider: ExecutionProvider | None = None
) -> Entry:
    variant = Variant(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=precision,
        execution_provider=provider,
    )
    return Entry(variant, why, needs=(on_gpu(variant),))


TENSORRT_FP16 = _tensorrt(Precision.FP16, "half the bits, on tensor cores")
TENSORRT_INT8 = _tensorrt(
    Precision.INT8, "a quarter of the bits, with FP16 beside it; uses the most accurate calibrator"
)
TENSORRT_FP8 = _tensorrt(
    Precision.FP8, "a quarter of the bits with FP8's range, with FP16 beside it, on GPUs since Ada"
)

# In order of preference: of variants that are equally good the first is selected.
_OWN = (
    _onnxruntime("onnxruntime-fp32", Precision.FP32, "FP32 by the CUDA provider, TF32 inside"),
    _onnxruntime(
        "onnxruntime-fp16", Precision.FP16, "half the bits by the CUDA provider, on tensor cores"
    ),
    _onnxruntime(
        "onnxruntime-tensorrt-fp16",
        Precision.FP16,
        "TensorRT's kernels inside ONNX Runtime: one file for every GPU; engines are built where "
        "it is served",
        ExecutionProvider.TENSORRT,
    ),
    _tensorrt(Precision.FP32, "FP32 with TF32 inside, each kernel chosen by timing"),
    TENSORRT_FP16,
    _tensorrt(Precision.BF16, "half the bits, FP32's range: nothing overflows"),
    TENSORRT_INT8,
    TENSORRT_FP8,
    _pytorch("pytorch-fp16-compiled", Precision.FP16, "half the bits, kernels by Inductor"),
    _pytorch(
        "pytorch-bf16-compiled",
        Precision.BF16,
        "half the bits, FP32's range, by Inductor",
    ),
    _pytorch(
        "pytorch-int8", Precision.INT8, "Linear in INT8, which needs no data", is_mostly_linear
    ),
    _pytorch("pytorch-fp8", Precision.FP8, "Linear in FP8, which needs no data", is_mostly_linear),
)

_CPU_RULES = {
    "pytorch-compiled": "FP16 and BF16 are compiled here; list compiled FP32 to try it",
    "pytorch-bf16": "it is compiled here: pytorch-bf16-compiled",
}
_NO_INT8 = (
    "ONNX Runtime's CUDA provider has no INT8 kernels: it would compute in FP32, with casts; "
    "TensorRT has them"
)
_UNKNOWN = "unknown on GPUs; list it in spec.variants to measure it"


def _of_cpus(entry: Entry) -> Entry:
    """Return an entry of the CPU pool with the reason why it is no contender on a GPU."""
    variant = entry.variant
    if (unsupported := unsupported_on_kind(variant, TargetKind.GPU)) is not None:
        reason = unsupported.message
    elif (variant.runtime, variant.precision) == (Runtime.ONNX_RUNTIME, Precision.INT8):
        reason = _NO_INT8
    else:
        reason = _CPU_RULES.get(variant.name, _UNKNOWN)
    return replace(entry, rules=(left_out(reason),), needs=())


_NAMES = {entry.variant.name for entry in _OWN}
GPU_POOL = (*_OWN, *(_of_cpus(e) for e in CPU_POOL if e.variant.name not in _NAMES))
