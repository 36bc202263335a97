"""How models are compiled by OpenVINO, in its own properties: what is measured, and what a server
is told. Pure.

FP32 and INT8 request f32: OpenVINO's default silently computes in bf16 if the CPU supports it. In
an INT8 file the Q/DQ nodes decide what runs in int8; the rest stays FP32, or BF16 where that is
asked for.
"""

from __future__ import annotations

from mopt_api.enums import FloatPrecision, Precision
from mopt_api.variants import uses_bf16

PRECISION_HINT = "INFERENCE_PRECISION_HINT"
THREADS = "INFERENCE_NUM_THREADS"
STREAMS = "NUM_STREAMS"
PERFORMANCE_HINT = "PERFORMANCE_HINT"
PINNING = "ENABLE_CPU_PINNING"

DEVICE = "CPU"


def properties(
    precision: Precision,
    threads: int | None,
    streams: int = 1,
    float_precision: FloatPrecision | None = None,
) -> dict[str, str]:
    """Return the properties of a compiled model.

    Args:
        float_precision: Of what is not INT8 in an INT8 file; None is FP32.
        threads: Of each stream; None leaves them out.
        streams: Calls that are computed at the same time.
    """
    counted = {} if threads is None else {THREADS: str(threads * streams)}
    return {
        PRECISION_HINT: "bf16" if uses_bf16(precision, float_precision) else "f32",
        **counted,
        STREAMS: str(streams),
        PERFORMANCE_HINT: "LATENCY" if streams == 1 else "THROUGHPUT",
        PINNING: "NO",
    }
