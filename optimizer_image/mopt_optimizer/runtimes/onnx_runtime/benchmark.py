"""Latency of a file in ONNX Runtime, with inputs and outputs in preallocated memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import Precision, Runtime
from mopt_api.jobs.measure_result import PointResult
from mopt_optimizer.errors import BaselineError, RuntimeFailure
from mopt_optimizer.machine.threads import THREADS_VARIABLE
from mopt_optimizer.opening.loading import open_onnx
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.timing.interleave import (
    MIN_RUNS,
    Calls,
    interleave,
    point_result,
    schedule_of_calls,
)


def benchmark_onnx(
    path: str | Path,
    inputs: Mapping[str, NDArray[Any]],
    *,
    num_iterations: int = MIN_RUNS,
    min_seconds: float = 0.0,
    threads: int | None = None,
) -> PointResult:
    """Return the latency of one call, host to host, with ONNX Runtime's IOBinding.

    A warm-up of 1 s, or of one call if that takes longer, is not counted.

    Args:
        num_iterations: Minimum number of counted calls, at least 1.
        min_seconds: Minimum counted time.
        threads: None takes OMP_NUM_THREADS, or one per core.

    Returns:
        p50, p90, p99 in ms; throughput in samples (of the first input's first axis) per second.

    Raises:
        ModelError: Not an ONNX model.
        BaselineError: ONNX Runtime cannot run it on these inputs.
    """
    from .runner import OnnxRuntimeRunner

    path = Path(path)
    open_onnx(path)
    granted = threads or int(os.environ.get(THREADS_VARIABLE, "0")) or os.cpu_count() or 1
    # A point without dimensions: the arrays give the sizes.
    point = BenchmarkPoint.model_construct(name="given", dimensions={})
    opening = Opening(
        runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32, path=path, threads=granted
    )
    try:
        with OnnxRuntimeRunner(opening) as runner:
            times = interleave(
                [Calls(path.name, runner.bind(inputs))],
                point.name,
                schedule_of_calls(num_iterations, min_seconds),
                warmup_seconds=1,
                drop=_refuse,
                failures=RuntimeFailure,
            )
    except RuntimeFailure as error:
        raise BaselineError(str(error)) from error
    first = next(iter(inputs.values()))
    return point_result(point, times[path.name], np.shape(first)[0] if np.ndim(first) else 1)


def _refuse(calls: Calls, error: RuntimeFailure) -> None:  # noqa: ARG001 - there is but one
    """Raise the failure of the only participant."""
    raise error
