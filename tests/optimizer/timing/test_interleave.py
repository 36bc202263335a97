"""Turns, statistics and inputs of the benchmark, on a clock of the test's own."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import DType
from mopt_api.inputs import InputSpec
from mopt_optimizer.timing.interleave import (
    MIN_RUNS,
    Rounds,
    Schedule,
    batch_size,
    benchmark_feeds,
    interleave,
    point_result,
    schedule,
    take_rounds,
    time_calls,
)

MS = 1_000_000


class Clock:
    """Nanoseconds that pass only while a call runs."""

    def __init__(self, durations: Callable[[int], int]) -> None:
        self.now = 0
        self.calls = 0
        self._durations = durations

    def call(self) -> None:
        self.now += self._durations(self.calls)
        self.calls += 1

    def __call__(self) -> int:
        return self.now


class Recorder:
    """A participant that notes its turns, and fails in a given one."""

    def __init__(self, name: str, log: list[str], fails_at: int | None = None) -> None:
        self.name = name
        self._log = log
        self._fails_at = fails_at
        self.turns = 0

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        self._log.append(f"{self.name}:{point}:{seconds:g}:{calls}")
        self.turns += 1
        if self.turns == self._fails_at:
            raise RuntimeError(f"{self.name} broke")
        return [self.turns]


@given(st.floats(0.1, 600))
def test_turns_add_up_to_the_duration_and_the_fewest_runs(duration: float) -> None:
    turns = schedule(duration)
    assert turns.rounds * turns.slice_seconds == pytest.approx(duration)
    assert turns.rounds * turns.calls >= MIN_RUNS
    assert turns.rounds >= 4
    assert turns.slice_seconds <= 0.5


def test_short_calls_are_counted_from_the_second_on_until_the_time_is_up() -> None:
    clock = Clock(lambda number: 7 * MS if number == 0 else 2 * MS)
    times = time_calls(clock.call, seconds=0.01, calls=1, clock=clock)
    assert times == [2 * MS] * 5


def test_long_calls_are_all_counted() -> None:
    clock = Clock(lambda _: 300 * MS)
    assert time_calls(clock.call, seconds=0.5, calls=1, clock=clock) == [300 * MS] * 2


def test_a_turn_makes_its_least_number_of_calls_however_long_they_are() -> None:
    clock = Clock(lambda _: 900 * MS)
    assert len(time_calls(clock.call, seconds=0.1, calls=3, clock=clock)) == 3


def test_garbage_is_not_collected_while_timing() -> None:
    seen: list[bool] = []
    clock = Clock(lambda _: 5 * MS)

    def call() -> None:
        seen.append(gc.isenabled())
        clock.call()

    time_calls(call, seconds=0.01, calls=1, clock=clock)
    assert not any(seen)
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_failing_call() -> None:
    def call() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        time_calls(call, seconds=1, calls=1)
    assert gc.isenabled()


def take(everyone: list[Recorder], rounds: int, **options: Any) -> Rounds:
    return take_rounds(
        everyone,
        "p",
        Schedule(rounds=rounds, slice_seconds=0.5, calls=3),
        warmup_seconds=0.25,
        drop=lambda participant, error: pytest.fail(f"{participant}: {error}"),
        failures=RuntimeError,
        **options,
    )


def test_everyone_takes_a_turn_a_round_after_a_warm_up() -> None:
    log: list[str] = []
    rounds = take([Recorder(name, log) for name in "AB"], 2)
    assert log[:2] == ["A:p:0.25:1", "B:p:0.25:1"]
    assert sorted(log[2:4]) == sorted(log[4:]) == ["A:p:0.5:3", "B:p:0.5:3"]
    assert rounds == {"A": [[2], [3]], "B": [[2], [3]]}


def test_the_order_of_a_round_is_drawn_and_the_same_in_every_run() -> None:
    logs: list[list[str]] = [[], []]
    for log in logs:
        take([Recorder(name, log) for name in "ABC"], 60)
    assert logs[0] == logs[1]
    turns = [entry[0] for entry in logs[0][3:]]
    orders = Counter("".join(turns[start : start + 3]) for start in range(0, len(turns), 3))
    assert set(orders) == {"ABC", "ACB", "BAC", "BCA", "CAB", "CBA"}
    assert max(orders.values()) <= 20


def test_who_leaves_takes_no_more_turns_and_keeps_those_taken() -> None:
    def after(rounds: Rounds) -> Collection[str]:
        done = len(rounds["B"])
        return {1: ["A"], 3: ["B", "C"]}.get(done, [])

    rounds = take([Recorder(name, []) for name in "ABC"], 9, after=after)
    assert {name: len(turns) for name, turns in rounds.items()} == {"A": 1, "B": 3, "C": 3}


def test_interleaving_pools_the_turns() -> None:
    times = interleave(
        [Recorder("A", [])],
        "p",
        Schedule(rounds=2, slice_seconds=0.5, calls=3),
        warmup_seconds=0.25,
        drop=lambda participant, error: pytest.fail(f"{participant}: {error}"),
        failures=RuntimeError,
    )
    assert times == {"A": [2, 3]}


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_failing_participant_leaves_and_the_others_go_on(fails_at: int) -> None:
    log: list[str] = []
    bad, good = Recorder("bad", log, fails_at), Recorder("good", log)
    dropped: list[tuple[str, str]] = []
    times = interleave(
        [bad, good],
        "p",
        Schedule(rounds=3, slice_seconds=0.1, calls=1),
        warmup_seconds=0,
        drop=lambda participant, error: dropped.append((participant.name, str(error))),
        failures=RuntimeError,
    )
    assert dropped == [("bad", "bad broke")]
    assert bad.turns == fails_at
    assert times == {"good": [2, 3, 4]}


def test_a_failure_of_another_kind_ends_the_measurement() -> None:
    with pytest.raises(RuntimeError, match="bad broke"):
        interleave(
            [Recorder("bad", [], 1)],
            "p",
            Schedule(rounds=1, slice_seconds=0.1, calls=1),
            warmup_seconds=0,
            drop=lambda *_: None,
            failures=KeyError,
        )


def test_statistics_are_those_of_all_calls() -> None:
    times = [value * MS for value in (10, 20, 30, 40, 100)]
    result = point_result(BenchmarkPoint(name="p", dimensions={"batch": 4}), times, batch=4)
    assert result.latency_ms.p50 == pytest.approx(30)
    assert result.latency_ms.p90 == pytest.approx(76)
    assert result.latency_ms.p99 == pytest.approx(97.6)
    assert result.throughput == pytest.approx(4 / 0.040)
    assert result.runs == 5
    assert result.coefficient_of_variation == pytest.approx(np.std([10, 20, 30, 40, 100]) / 40)
    assert result.dimensions == {"batch": 4}


IMAGE = InputSpec(name="image", shape=["batch", 3, "height", "width"])


def sample(height: int, width: int, offset: int = 0) -> dict[str, Any]:
    size = 3 * height * width
    values = np.arange(offset, offset + size, dtype=np.float32)
    return {"image": values.reshape(1, 3, height, width)}


def feed(batch: int, height: int, width: int, samples: list[dict[str, Any]]) -> Any:
    sizes = {"batch": batch, "height": height, "width": width}
    return benchmark_feeds([IMAGE], sizes, samples)["image"]


def test_larger_samples_are_cropped() -> None:
    real = sample(6, 8)
    assert np.array_equal(feed(1, 4, 5, [real]), real["image"][:, :, :4, :5])


def test_smaller_samples_are_repeated() -> None:
    real = sample(2, 3)
    made = feed(1, 4, 7, [real])
    assert np.array_equal(made[:, :, 2:, 3:6], real["image"])
    assert made.shape == (1, 3, 4, 7)


def test_a_batch_takes_different_samples_and_starts_again_when_they_run_out() -> None:
    real = [sample(4, 4), sample(5, 6, offset=1000)]
    made = feed(3, 4, 4, real)
    assert np.array_equal(made[1:2], real[1]["image"][:, :, :4, :4])
    assert np.array_equal(made[2], made[0])


def test_without_samples_the_noise_is_the_same_every_time() -> None:
    first, second = feed(2, 4, 4, []), feed(2, 4, 4, [])
    assert np.array_equal(first, second)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() < 1
    assert first.std() > 0.1


def test_feeds_can_be_handed_to_native_code() -> None:
    assert feed(1, 2, 2, [sample(4, 4)]).flags.c_contiguous


def test_batch_is_the_outermost_size() -> None:
    assert batch_size([IMAGE], {"batch": 6, "height": 1, "width": 1}) == 6
    assert batch_size([InputSpec(name="x", shape=[2, 5])], {}) == 2


TOKENS = InputSpec(name="tokens", dtype=DType.INT64, shape=["batch", "length"])
TABLE = InputSpec(name="table", shape=["length"])


def test_integers_keep_their_values_and_inputs_keep_their_rows_together() -> None:
    real = [
        {"tokens": np.array([[7, 8], [9, 10]]), "table": np.array([0.5, 0.25], np.float32)},
        {"tokens": np.array([[11, 12]]), "table": np.array([4, 5], np.float32)},
    ]
    made = benchmark_feeds([TOKENS, TABLE], {"batch": 3, "length": 3}, real)
    assert made["tokens"].tolist() == [[7, 8, 7], [9, 10, 9], [11, 12, 11]]
    assert made["tokens"].dtype == np.int64
    assert made["table"].tolist() == [0.5, 0.25, 4]
    one = benchmark_feeds([TOKENS, TABLE], {"batch": 1, "length": 1}, real)
    assert (one["tokens"].tolist(), one["table"].tolist()) == ([[7]], [0.5])


def test_without_samples_integers_are_zeros_and_ones() -> None:
    made = benchmark_feeds([TOKENS], {"batch": 4, "length": 32}, [])["tokens"]
    assert made.dtype == np.int64
    assert set(np.unique(made).tolist()) == {0, 1}
