"""Latency of an engine, measured as trtexec does: GPU compute, and host to host.

Warm-up is 200 ms; then at least 10 runs and 3 s, one run at a time. GPU compute is the device time
between two events around the inference; host to host adds both copies and the launch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.machine.nvidia_clocks import ClockSample, gpu_clocks

from .running import EngineRunner

WARM_UP_SECONDS = 0.2
MIN_SECONDS = 3.0
MIN_RUNS = 10
UNSTEADY = 0.025
"""Coefficient of variation above which trtexec and mopt warn."""


@dataclass(frozen=True)
class LatencySummary:
    """Latency of the counted runs, in ms."""

    mean: float
    p50: float
    p90: float
    p99: float
    minimum: float
    maximum: float
    variation: float
    """Standard deviation over mean."""

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> LatencySummary:
        """Return the summary of at least one run."""
        p50, p90, p99 = (float(v) for v in np.percentile(milliseconds, [50, 90, 99]))
        mean = statistics.fmean(milliseconds)
        return cls(
            mean=mean,
            p50=p50,
            p90=p90,
            p99=p99,
            minimum=min(milliseconds),
            maximum=max(milliseconds),
            variation=statistics.pstdev(milliseconds) / mean if mean else 0.0,
        )


@dataclass(frozen=True)
class EngineTiming:
    """One measurement.

    Attributes:
        runs: Number of counted runs.
        gpu_compute: Inference on the device.
        end_to_end: From inputs on the host to outputs on the host.
        clocks: The GPU's, before and after; empty if NVML does not report them.
        warnings: Reasons to doubt the numbers.
    """

    runs: int
    gpu_compute: LatencySummary
    end_to_end: LatencySummary
    clocks: tuple[ClockSample, ...]
    warnings: tuple[str, ...]


def benchmark_engine(
    runner: EngineRunner,
    feeds: Mapping[str, NDArray[Any]],
    *,
    warm_up_seconds: float = WARM_UP_SECONDS,
    min_seconds: float = MIN_SECONDS,
    min_runs: int = MIN_RUNS,
    clock: Callable[[], float] = time.perf_counter,
    clocks: Callable[[], ClockSample | None] = gpu_clocks,
) -> EngineTiming:
    """Time an engine at one set of shapes.

    Args:
        feeds: Every input by name.
        clock: Returns seconds.
        clocks: Returns the GPU's clocks.

    Raises:
        As EngineRunner.__call__.
    """
    memory = runner.memory
    runner.set_shapes(feeds)
    # Uploads copy from fixed memory: the copies are the same in each run.
    inputs = {name: np.require(array, requirements=["C", "W"]) for name, array in feeds.items()}

    def one() -> tuple[float, float]:
        started = clock()
        runner.upload(inputs)
        before = memory.mark()
        runner.enqueue()
        after = memory.mark()
        runner.download()
        memory.synchronize()
        ended = clock()
        return memory.milliseconds(before, after), (ended - started) * 1e3

    until = clock() + warm_up_seconds
    one()
    while clock() < until:
        one()
    first = clocks()
    compute: list[float] = []
    whole: list[float] = []
    until = clock() + min_seconds
    while len(compute) < min_runs or clock() < until:
        device, host = one()
        compute.append(device)
        whole.append(host)
    samples = tuple(sample for sample in (first, clocks()) if sample is not None)
    summary = LatencySummary.of(compute)
    return EngineTiming(
        runs=len(compute),
        gpu_compute=summary,
        end_to_end=LatencySummary.of(whole),
        clocks=samples,
        warnings=doubts(summary, samples),
    )


def doubts(compute: LatencySummary, clocks: Sequence[ClockSample]) -> tuple[str, ...]:
    """Return the reasons to doubt a measurement, as messages. Pure."""
    found = []
    if compute.variation > UNSTEADY:
        found.append(
            f"GPU compute varies by {compute.variation:.1%} (more than {UNSTEADY:.1%}): lock the "
            "clocks (nvidia-smi -lgc), and keep others off the GPU"
        )
    if not clocks:
        found.append("NVML does not tell the GPU's clocks: install nvidia-ml-py")
    throttled = sorted({reason for sample in clocks for reason in sample.throttling})
    if throttled:
        found.append(f"the GPU was slowed down: {', '.join(throttled)}")
    return tuple(found)
