"""A quantized model against the one it came from: bytes, latency, memory, quality."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from mopt_optimizer.errors import SpecError
from mopt_optimizer.machine.memory import peak_memory_bytes
from mopt_optimizer.quality import check_comparable, cosine, max_abs_error, psnr, sqnr
from mopt_optimizer.timing.interleave import time_calls

from .capturing import capture, float_copy, input_names, run_sample, tensors
from .config import Execution
from .executing import Executor
from .quantized_model import QuantizedModel, save_program
from .sampling import positional

_WARM_UP_CALLS = 3
_NS_PER_MS = 1e6
_PERCENTILES = (50, 90, 99)
# Each turn of a model: few enough that both see the same machine, and none is a whole run.
_CALLS_PER_TURN = 5


def compare_models(
    model: nn.Module | ExportedProgram,
    quantized: QuantizedModel,
    test_input: Any,
    num_iterations: int,
    *,
    data_range: float | None = None,
    compiled_baseline: bool = False,
) -> dict[str, Any]:
    """Return how both models compare on one input.

    They take turns of a few calls (A B, B A, ...), so that whatever else the machine does meets
    both alike. The baseline runs eager, as the model came.

    Args:
        num_iterations: Counted calls of each, at least 2.
        data_range: Span of the output's values; None leaves PSNR out.
        compiled_baseline: Also time the FP32 model compiled by Inductor: what quantizing gains
            over compiling alone.

    Returns:
        original_size_bytes, quantized_size_bytes: Both saved as .pt2.
        size_reduction_percent
        original_latency_ms, quantized_latency_ms: {p50, p90, p99}, and compiled_latency_ms.
        speedup: Of the medians; speedup_over_compiled.
        original_peak_memory_bytes, quantized_peak_memory_bytes: Resident memory that a call takes
            beyond what is held between calls; None where the kernel does not tell.
        quality: sqnr_db, cosine, max_abs_error, and psnr_db; worst output.
        iterations, threads, compiled, fallback_reason

    Raises:
        SpecError: Fewer than 2 iterations.
        CalibrationError: The input is not for the model.
        ComparisonError: The outputs cannot be compared.
    """
    if num_iterations < 2:
        raise SpecError(f"num_iterations {num_iterations}: at least 2 for percentiles")
    baseline = float_copy(model)
    names, _ = input_names(baseline)
    args = positional(test_input, names, "the test input")
    expected = run_sample(baseline, args, "the test input")
    found = tensors(quantized(*args))

    def original() -> None:
        with torch.no_grad():
            baseline(*args)

    def narrow() -> None:
        quantized(*args)

    calls: dict[str, Callable[[], None]] = {"original": original, "quantized": narrow}
    if compiled_baseline:
        executor = Executor(baseline, Execution.COMPILE, "the FP32 model")

        def compiled() -> None:
            executor(args)

        calls["compiled"] = compiled
    peaks = {name: call_peak_bytes(calls[name]) for name in ("original", "quantized")}
    times = interleaved(calls, num_iterations)
    sizes = saved_bytes(baseline, args, quantized)
    latency = {name: percentiles(values) for name, values in times.items()}
    result: dict[str, Any] = {
        "original_size_bytes": sizes[0],
        "quantized_size_bytes": sizes[1],
        "size_reduction_percent": 100 * (1 - sizes[1] / sizes[0]),
        "speedup": latency["original"]["p50"] / latency["quantized"]["p50"],
        "quality": quality(expected, found, data_range),
        "iterations": num_iterations,
        "threads": torch.get_num_threads(),
        "compiled": quantized.compiled,
        "fallback_reason": quantized.fallback_reason,
    }
    result |= {f"{name}_latency_ms": value for name, value in latency.items()}
    result |= {f"{name}_peak_memory_bytes": value for name, value in peaks.items()}
    if compiled_baseline:
        result["speedup_over_compiled"] = latency["compiled"]["p50"] / latency["quantized"]["p50"]
    return result


def interleaved(calls: Mapping[str, Callable[[], None]], iterations: int) -> dict[str, list[int]]:
    """Return each one's call times in nanoseconds, `iterations` of them, taken in turns."""
    for call in calls.values():
        for _ in range(_WARM_UP_CALLS):
            call()
    times: dict[str, list[int]] = {name: [] for name in calls}
    for turn in range(math.ceil(iterations / _CALLS_PER_TURN)):
        count = min(_CALLS_PER_TURN, iterations - turn * _CALLS_PER_TURN)
        order = list(calls) if turn % 2 == 0 else list(calls)[::-1]
        for name in order:
            # Of a long call the first is counted too: that is one more than asked for.
            taken = time_calls(calls[name], seconds=0, calls=count)
            times[name] += taken[:count]
    return times


def percentiles(times_ns: Sequence[int]) -> dict[str, float]:
    """Return p50, p90 and p99 in milliseconds."""
    values = np.percentile(np.asarray(times_ns, np.float64) / _NS_PER_MS, _PERCENTILES)
    return {f"p{p}": float(v) for p, v in zip(_PERCENTILES, values, strict=True)}


def quality(
    expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor], data_range: float | None
) -> dict[str, float]:
    """Return the agreement of the outputs, the worst output's for each metric.

    Raises:
        ComparisonError: Another number or shape, or values that are not finite.
    """
    pairs = [(e.float().numpy(), f.float().numpy()) for e, f in zip(expected, found, strict=False)]
    check_comparable([t.float().numpy() for t in expected], [t.float().numpy() for t in found])
    result = {
        "sqnr_db": min(sqnr(e, f) for e, f in pairs),
        "cosine": min(cosine(e, f) for e, f in pairs),
        "max_abs_error": max(max_abs_error(e, f) for e, f in pairs),
    }
    if data_range is not None:
        result["psnr_db"] = min(psnr(e, f, data_range) for e, f in pairs)
    return result


def saved_bytes(
    baseline: nn.Module, args: tuple[torch.Tensor, ...], quantized: QuantizedModel
) -> tuple[int, int]:
    """Return the sizes of both as files.

    Raises:
        ExportError: The baseline cannot be captured.
        DiskError: No space.
    """
    with TemporaryDirectory(prefix="mopt-size-") as folder:
        path = Path(folder) / "model.pt2"
        save_program(capture(baseline, args, dynamic=True), path)
        original = path.stat().st_size
        path.unlink()
        save_program(quantized.program, path)
        return original, path.stat().st_size


def call_peak_bytes(call: Callable[[], None]) -> int | None:
    """Return the resident memory that a call takes on top; None where it is not told."""
    call()
    try:
        # The C library keeps freed memory: given back first, so that its reuse is seen.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to what is resident now
    except (OSError, AttributeError):  # Another kernel or C library, or not allowed.
        return None
    before = peak_memory_bytes()
    call()
    return max(0, peak_memory_bytes() - before)
