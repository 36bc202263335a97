"""Requests that wait, and the instances that take them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from mopt_optimizer.load.batching import Queue

pytestmark = pytest.mark.optimizer


def test_what_waits_is_taken_in_batches_that_may_be_computed() -> None:
    free, taken = threading.Event(), threading.Event()
    batches: list[list[int]] = []
    answered: list[int] = []
    done = threading.Event()

    def compute(samples: Sequence[int]) -> None:
        batches.append(list(samples))
        taken.set()
        free.wait()

    def answer(numbers: Sequence[int]) -> None:
        answered.extend(numbers)
        if len(answered) == 8:
            done.set()

    with Queue([compute], (1, 2, 4), answer) as queue:
        queue.put([(100, 0)])
        taken.wait()
        queue.put([(100 + n, n) for n in range(1, 8)])
        free.set()
        done.wait()
    assert batches == [[0], [1, 2, 3, 4], [5, 6], [7]]
    assert answered == list(range(100, 108))


def test_instances_compute_at_the_same_time() -> None:
    both = threading.Barrier(2)
    answered = threading.Semaphore(0)

    def compute(_samples: Sequence[int]) -> None:
        both.wait()

    def answer(_numbers: Sequence[int]) -> None:
        answered.release()

    with Queue([compute, compute], (1,), answer) as queue:
        queue.put([(1, 0), (2, 0)])
        assert all(answered.acquire() for _ in range(2))


def test_a_failure_answers_what_waits_and_is_kept() -> None:
    answered: list[int] = []
    done = threading.Event()

    def compute(_samples: Sequence[int]) -> None:
        raise ValueError("broken")

    def answer(numbers: Sequence[int]) -> None:
        answered.extend(numbers)
        if len(answered) == 3:
            done.set()

    with Queue([compute], (1,), answer) as queue:
        queue.put([(1, 0), (2, 1), (3, 2)])
        done.wait()
    assert answered == [1, 2, 3]
    assert str(queue.failure) == "broken"
