"""A quantized model against the one it came from: bytes, latency, memory, quality."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from mopt_api.benchmark import BenchmarkPoint
from mopt_api.figures import Latency
from mopt_api.jobs.measure_result import PointResult
from mopt_optimizer.errors import SpecError
from mopt_optimizer.machine.memory import peak_memory_bytes
from mopt_optimizer.quality import check_comparable, cosine, max_abs_error, psnr, sqnr
from mopt_optimizer.timing.interleave import Calls, interleave, point_result, schedule_of_calls

from .capturing import capture, float_copy, input_names, run_sample, tensors
from .config import Execution
from .executing import Executor
from .quantized_model import QuantizedModel, save_program
from .sampling import positional

_POINT = BenchmarkPoint.model_construct(name="given", dimensions={})


@dataclass(frozen=True)
class ModelFigures:
    """What one of the models takes.

    Attributes:
        size_bytes: Saved as a .pt2.
        latency_ms: Of one call.
        peak_memory_bytes: Resident memory that a call takes beyond what is held between calls;
            None where the kernel does not say.
    """

    size_bytes: int
    latency_ms: Latency
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class OutputAgreement:
    """How the outputs agree, the worst output's value for each metric.

    Attributes:
        psnr_db: None where the span of the values was not given.
    """

    sqnr_db: float
    cosine: float
    max_abs_error: float
    psnr_db: float | None = None


@dataclass(frozen=True)
class ModelComparison:
    """A quantized model beside the one it came from.

    Attributes:
        compiled_latency_ms: Of the original compiled by Inductor; None where that was not timed.
        runs: Calls of each that were counted.
        threads: Of torch.
        compiled: Whether the quantized model ran compiled; fallback_reason says why not.
    """

    original: ModelFigures
    quantized: ModelFigures
    compiled_latency_ms: Latency | None
    quality: OutputAgreement
    runs: int
    threads: int
    compiled: bool
    fallback_reason: str | None

    @property
    def size_reduction_percent(self) -> float:
        """Negative where it grew."""
        return 100 * (1 - self.quantized.size_bytes / self.original.size_bytes)

    @property
    def speedup(self) -> float:
        """Of the medians."""
        return self.original.latency_ms.p50 / self.quantized.latency_ms.p50

    @property
    def speedup_over_compiled(self) -> float | None:
        """Of the medians: what quantizing gains over compiling alone."""
        compiled = self.compiled_latency_ms
        return None if compiled is None else compiled.p50 / self.quantized.latency_ms.p50


def compare_models(
    model: nn.Module | ExportedProgram,
    quantized: QuantizedModel,
    test_input: Any,
    num_iterations: int,
    *,
    data_range: float | None = None,
    compiled_baseline: bool = False,
) -> ModelComparison:
    """Return how both models compare on one input.

    They take turns of a few calls (see timing.interleave), so that whatever else the machine does
    meets both alike. The baseline runs eager.

    Args:
        num_iterations: Calls of each that are counted at least, 2 or more.
        data_range: Span of the output's values; None leaves PSNR out.
        compiled_baseline: Also time the FP32 model compiled by Inductor.

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
    original = Calls("original", _eager(baseline, args))
    narrow = Calls("quantized", partial(quantized, *args))
    peaks = [call_peak_bytes(one.call) for one in (original, narrow)]
    others = []
    if compiled_baseline:
        executor = Executor(baseline, Execution.COMPILE, "the FP32 model")
        others = [Calls("compiled", partial(executor, args))]
    timed = _timed([original, narrow, *others], num_iterations)
    sizes = saved_bytes(baseline, args, quantized)
    figures = [
        ModelFigures(size, timed[one.name].latency_ms, peak)
        for one, size, peak in zip((original, narrow), sizes, peaks, strict=True)
    ]
    return ModelComparison(
        original=figures[0],
        quantized=figures[1],
        compiled_latency_ms=timed["compiled"].latency_ms if others else None,
        quality=agreement(expected, found, data_range),
        runs=min(result.runs for result in timed.values()),
        threads=torch.get_num_threads(),
        compiled=quantized.compiled,
        fallback_reason=quantized.fallback_reason,
    )


def _eager(module: nn.Module, args: tuple[torch.Tensor, ...]) -> Callable[[], None]:
    def call() -> None:
        with torch.no_grad():
            module(*args)

    return call


def _timed(participants: Sequence[Calls], iterations: int) -> dict[str, PointResult]:
    times = interleave(
        participants,
        _POINT.name,
        schedule_of_calls(iterations),
        warmup_seconds=0,
        drop=_refuse,
        failures=RuntimeError,
    )
    return {name: point_result(_POINT, taken, batch=1) for name, taken in times.items()}


def _refuse(calls: Calls, error: RuntimeError) -> None:  # noqa: ARG001 - neither can be left out
    """End the comparison with a model's failure."""
    raise error


def agreement(
    expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor], data_range: float | None
) -> OutputAgreement:
    """Return the agreement of the outputs, the worst output's for each metric.

    Raises:
        ComparisonError: Another number or shape, or values that are not finite.
    """
    pairs = [(e.float().numpy(), f.float().numpy()) for e, f in zip(expected, found, strict=False)]
    check_comparable([t.float().numpy() for t in expected], [t.float().numpy() for t in found])
    return OutputAgreement(
        sqnr_db=min(sqnr(e, f) for e, f in pairs),
        cosine=min(cosine(e, f) for e, f in pairs),
        max_abs_error=max(max_abs_error(e, f) for e, f in pairs),
        psnr_db=None if data_range is None else min(psnr(e, f, data_range) for e, f in pairs),
    )


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
