"""Times forms side by side, as the product's measure stage does, with the GPU's own clock beside.

A call's latency is from the host's clock, from before the call until the GPU has finished it; its
inputs are on the GPU already and its outputs stay there. The events around it say how long the GPU
took of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from mopt_optimizer.timing.interleave import Schedule, interleave, time_calls

TURNS = Schedule(rounds=4, slice_seconds=0.12, calls=3)
_WARM_UP_SECONDS = 0.15
_NS_PER_MS = 1e6


class Device(Protocol):
    """Where the forms compute.

    Attributes:
        torch: For tensors.
    """

    torch: torch.device

    def use_tf32(self, allowed: bool) -> None:
        """Let FP32 be computed in TF32, or not."""

    def start(self) -> None:
        """Note the begin of a call."""

    def finish(self) -> None:
        """Note the call's end, and wait for it."""

    def taken_ms(self) -> list[float]:
        """Return the device's milliseconds of the calls since the last time; empty where it has no
        clock of its own."""

    def allocated(self) -> int:
        """Return the bytes that tensors hold now."""

    def peak_of(self, call: Callable[[], object]) -> int | None:
        """Return the most bytes that tensors hold while a call computes; None if not told."""


class Cuda:
    """CUDA's first GPU, through torch."""

    def __init__(self, cuda: Any = torch.cuda, backends: Any = torch.backends) -> None:
        """Take torch's modules; others only in tests."""
        self.torch = torch.device("cuda")
        self._cuda = cuda
        self._backends = backends
        self._calls: list[tuple[Any, Any]] = []
        self._started: Any = None

    def use_tf32(self, allowed: bool) -> None:
        """Let FP32 be computed in TF32, or not."""
        self._backends.cuda.matmul.allow_tf32 = allowed
        self._backends.cudnn.allow_tf32 = allowed

    def start(self) -> None:
        """Note the begin of a call."""
        self._started = self._cuda.Event(enable_timing=True)
        self._started.record()

    def finish(self) -> None:
        """Note the call's end, and wait for it."""
        ended = self._cuda.Event(enable_timing=True)
        ended.record()
        ended.synchronize()
        self._calls.append((self._started, ended))

    def taken_ms(self) -> list[float]:
        """Return the milliseconds between the events of the calls since the last time."""
        taken = [float(started.elapsed_time(ended)) for started, ended in self._calls]
        self._calls.clear()
        return taken

    def allocated(self) -> int:
        """Return the bytes that tensors hold now."""
        return int(self._cuda.memory_allocated())

    def peak_of(self, call: Callable[[], object]) -> int | None:
        """Return the most bytes that tensors hold while a call computes."""
        self._cuda.synchronize()
        self._cuda.reset_peak_memory_stats()
        call()
        self._cuda.synchronize()
        return int(self._cuda.max_memory_allocated())


class Host:
    """The CPU, in tests of what surrounds the GPU: it has no TF32, events or memory of its own."""

    torch = torch.device("cpu")

    def use_tf32(self, allowed: bool) -> None:
        """Change nothing."""

    def start(self) -> None:
        """Change nothing."""

    def finish(self) -> None:
        """Change nothing."""

    def taken_ms(self) -> list[float]:
        """Return nothing."""
        return []

    def allocated(self) -> int:
        """Return 0."""
        return 0

    def peak_of(self, call: Callable[[], object]) -> int | None:
        """Return None, after the call."""
        call()
        return None


class Timed:
    """A form at a batch size that takes turns.

    Attributes:
        name: Tells it from the others of the rounds.
        device_ms: Of its counted calls, where the device has a clock.
    """

    def __init__(
        self, name: str, call: Callable[[], object], device: Device, *, tf32: bool
    ) -> None:
        self.name = name
        self.device_ms: list[float] = []
        self._call = call
        self._device = device
        self._tf32 = tf32

    def once(self) -> None:
        """Compute once, to its end."""
        self._device.start()
        self._call()
        self._device.finish()

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:  # noqa: ARG002
        """Return the nanoseconds of each counted call, as benchmarking.Participant."""
        self._device.use_tf32(self._tf32)
        times = time_calls(self.once, seconds=seconds, calls=calls)
        taken = self._device.taken_ms()
        if seconds > 0:
            # A short first call is not counted.
            self.device_ms += taken[len(taken) - len(times) :]
        return times

    def run_for(self, seconds: float) -> tuple[int, float]:
        """Compute for a while; return the calls and the seconds that they took."""
        self._device.use_tf32(self._tf32)
        started, calls = time.monotonic(), 0
        while (elapsed := time.monotonic() - started) < seconds:
            self.once()
            calls += 1
        self._device.taken_ms()
        return calls, elapsed


def side_by_side(timed: Sequence[Timed], turns: Schedule = TURNS) -> dict[str, list[float]]:
    """Return the milliseconds of each one's calls; all take turns in the same rounds.

    Raises:
        RuntimeError: One fails; the figures of the others are of no use without it.
    """

    def drop(_participant: Timed, failure: RuntimeError) -> None:
        raise failure

    # Each warms up with what would else be counted of its clock.
    for one in timed:
        one.run_for(_WARM_UP_SECONDS)
    times = interleave(timed, "", turns, warmup_seconds=0, drop=drop, failures=RuntimeError)
    return {name: [value / _NS_PER_MS for value in values] for name, values in times.items()}
