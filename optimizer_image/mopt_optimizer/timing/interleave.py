"""How fast the variants are: latency of one call, host to host, all measured side by side.

The scheme: every variant and the baseline stay loaded, each in its own process, and take turns in
short slices of equal length, in rounds; only one computes at a time. Whatever drifts (clocks,
neighbours, temperature) therefore hits all of them alike, and all variants are compared with the
*same* baseline slices: round by round (see deciding), nothing rescaled. The order of each round is
drawn, so that a load with a rhythm of its own meets nobody more often. A result pools the calls of
all its slices.

Within a slice the garbage collector is off. Where calls are short, the first of a slice is not
counted: it finds the caches as the neighbour left them.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mopt_api.benchmark import BenchmarkPoint
from mopt_api.figures import Latency
from mopt_api.inputs import InputSpec
from mopt_api.jobs.measure_result import LATENCY_QUANTILES, PointResult
from mopt_optimizer.data.fitting import fitted
from mopt_optimizer.data.noise import noise

Array = NDArray[Any]

MIN_RUNS = 10
# Long enough that switching is a small part, short enough that drift is the same for all.
_SLICE_SECONDS = 0.5
_MIN_ROUNDS = 4
# Few enough that all see the same machine, and none is a whole run.
_CALLS_A_TURN = 5
# Refilling a last-level cache takes a few ms: below 1 % of a call that is longer than this.
_LEAD_IN_BELOW_NS = 200_000_000
_NS_PER_MS = 1e6
_NS_PER_SECOND = 1e9
_NOISE_SEED = 20_240_501
_ORDER_SEED = 20_261_130


@dataclass(frozen=True)
class Schedule:
    """Turns that every participant takes at a point.

    Attributes:
        rounds: Turns each.
        slice_seconds: Time a turn lasts at least.
        calls: Counted calls a turn makes at least.
    """

    rounds: int
    slice_seconds: float
    calls: int


def schedule(min_duration_seconds: float) -> Schedule:
    """Return turns that add up to the duration and to at least MIN_RUNS calls each."""
    rounds = max(_MIN_ROUNDS, math.ceil(min_duration_seconds / _SLICE_SECONDS))
    return Schedule(
        rounds=rounds,
        slice_seconds=min_duration_seconds / rounds,
        calls=math.ceil(MIN_RUNS / rounds),
    )


def schedule_of_calls(calls: int, seconds: float = 0.0) -> Schedule:
    """Return turns of a few calls that add up to at least so many calls and seconds each."""
    rounds = math.ceil(calls / _CALLS_A_TURN)
    return Schedule(rounds=rounds, slice_seconds=seconds / rounds, calls=math.ceil(calls / rounds))


def time_calls(
    call: Callable[[], None],
    *,
    seconds: float,
    calls: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[int]:
    """Return the nanoseconds of each counted call of one turn.

    Args:
        seconds: Calls are made until this much time was counted,
        calls: and at least this many times.
        clock: Nanoseconds.
    """
    budget = seconds * _NS_PER_SECOND
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = clock()
        call()
        first = clock() - started
        counted = [] if first < _LEAD_IN_BELOW_NS else [first]
        total = sum(counted)
        while total < budget or len(counted) < calls:
            started = clock()
            call()
            elapsed = clock() - started
            counted.append(elapsed)
            total += elapsed
        return counted
    finally:
        if collecting:
            gc.enable()


class Participant(Protocol):
    """A loaded variant that can be given turns."""

    @property
    def name(self) -> str: ...

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        """Return the nanoseconds of each counted call at a bound point."""
        ...


@dataclass(frozen=True)
class Calls:
    """A bound call of this process, as a participant; it raises what the call raises."""

    name: str
    call: Callable[[], None]

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:  # noqa: ARG002 - bound to one
        """Return the nanoseconds of each counted call."""
        return time_calls(self.call, seconds=seconds, calls=calls)


AnyParticipant = TypeVar("AnyParticipant", bound=Participant)
Failure = TypeVar("Failure", bound=Exception)


Rounds = dict[str, list[list[int]]]
"""Each participant's turns, one a round from the first on: nanoseconds of each counted call."""


def take_rounds(
    participants: Sequence[AnyParticipant],
    point: str,
    turns: Schedule,
    *,
    warmup_seconds: float,
    drop: Callable[[AnyParticipant, Failure], None],
    failures: type[Failure],
    after: Callable[[Rounds], Collection[str]] | None = None,
) -> Rounds:
    """Return each participant's turns; they are in an order of its own in each round.

    Args:
        warmup_seconds: Time each runs uncounted, once, before the first round.
        drop: Told of a participant that failed, which then leaves the rounds and the answer; may
            raise to end the measurement.
        failures: What counts as a participant's own failure.
        after: Told of the turns taken after each round; returns the names of those that leave.
            They keep their turns.
    """
    taken: Rounds = {participant.name: [] for participant in participants}
    running = list(participants)
    # Drawn alike in every run, so that a run can be repeated.
    order = random.Random(_ORDER_SEED)  # noqa: S311 - no secret

    def turn(participant: AnyParticipant, seconds: float, calls: int) -> list[int]:
        try:
            return participant.take_turn(point, seconds=seconds, calls=calls)
        except failures as error:
            running.remove(participant)
            del taken[participant.name]
            drop(participant, error)
            return []

    for participant in running[:]:
        turn(participant, warmup_seconds, 1)
    for _ in range(turns.rounds):
        for participant in order.sample(running, len(running)):
            times = turn(participant, turns.slice_seconds, turns.calls)
            if participant.name in taken:
                taken[participant.name].append(times)
        leaving = set(after(taken)) if after is not None else set[str]()
        running = [one for one in running if one.name not in leaving]
        if not running:
            break
    return taken


def interleave(
    participants: Sequence[AnyParticipant],
    point: str,
    turns: Schedule,
    *,
    warmup_seconds: float,
    drop: Callable[[AnyParticipant, Failure], None],
    failures: type[Failure],
) -> dict[str, list[int]]:
    """Return each participant's call times in nanoseconds, all turns pooled; as take_rounds."""
    taken = take_rounds(
        participants,
        point,
        turns,
        warmup_seconds=warmup_seconds,
        drop=drop,
        failures=failures,
    )
    return {name: pooled(turns) for name, turns in taken.items()}


def pooled(turns: Sequence[Sequence[int]]) -> list[int]:
    """Return the calls of all turns."""
    return [time_ns for turn in turns for time_ns in turn]


def point_result(point: BenchmarkPoint, times_ns: Sequence[int], batch: int) -> PointResult:
    """Return the statistics of a point's calls.

    Args:
        times_ns: At least one call, nanoseconds.
        batch: Samples that a call computes.
    """
    times = np.asarray(times_ns, np.float64) / _NS_PER_MS
    p50, p90, p99 = (float(v) for v in np.percentile(times, [50, 90, 99]))
    spread = np.percentile(times, np.linspace(0, 100, LATENCY_QUANTILES))
    mean = float(times.mean())
    return PointResult(
        point=point.name,
        dimensions=point.dimensions,
        latency_ms=Latency(p50=p50, p90=p90, p99=p99),
        throughput=batch * 1e3 / mean,
        runs=len(times_ns),
        coefficient_of_variation=float(times.std()) / mean,
        quantiles_ms=[float(f"{value:.5g}") for value in spread],
    )


def resolved_shape(spec: InputSpec, dimensions: Mapping[str, int]) -> tuple[int, ...]:
    """Return an input's shape with each named dimension replaced by its size."""
    return tuple(dimensions[size] if isinstance(size, str) else size for size in spec.shape)


def batch_size(inputs: Sequence[InputSpec], dimensions: Mapping[str, int]) -> int:
    """Return the outermost size of the first input that is no scalar; 1 where all are."""
    first = next((spec for spec in inputs if spec.shape), None)
    return resolved_shape(first, dimensions)[0] if first else 1


def benchmark_feeds(
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, int],
    samples: Sequence[Mapping[str, Array]],
) -> dict[str, Array]:
    """Return the inputs that every participant computes at a point; the same on every call.

    Real samples where there are any, fitted to the point's sizes; otherwise noise from a fixed
    seed (see noise.noise).

    Args:
        samples: Each holds every input, of the rank that the spec declares.
    """
    shapes = {spec.name: resolved_shape(spec, dimensions) for spec in inputs}
    if not samples:
        generator = np.random.default_rng(_NOISE_SEED)
        return {spec.name: noise(generator, shapes[spec.name], spec.dtype) for spec in inputs}
    return fitted(samples, shapes)
