"""The work queue: one worker per key, nothing lost."""

from __future__ import annotations

import asyncio

import pytest

from mopt_operator.loop.queue import LONGEST_RETRY_SECONDS, WorkQueue

A, B = ("team", "a"), ("team", "b")


async def test_key_added_twice_is_given_once() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add(A)
    queue.add(B)
    assert [await queue.get(), await queue.get()] == [A, B]
    assert len(queue) == 0


async def test_key_added_while_worked_on_comes_back_after_it() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.add(A)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    queue.done(A)
    assert await asyncio.wait_for(queue.get(), 1) == A


async def test_finished_key_does_not_come_back_by_itself() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.done(await queue.get())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)


async def test_waiting_worker_gets_a_later_key() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    assert await asyncio.wait_for(waiting, 1) == A


async def test_of_two_times_the_earlier_holds() -> None:
    queue = WorkQueue()
    queue.add_after(A, 60)
    queue.add_after(A, 0.01)
    queue.add_after(A, 60)
    assert await asyncio.wait_for(queue.get(), 1) == A
    queue.close()


async def test_closed_queue_forgets_its_timers() -> None:
    queue = WorkQueue()
    queue.add_after(A, 0.01)
    queue.close()
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_delays_double_up_to_a_bound_and_start_anew_after_success() -> None:
    queue = WorkQueue()
    assert [queue.retry(A) for _ in range(4)] == [0.5, 1, 2, 4]
    assert [queue.retry(A) for _ in range(2000)][-1] == LONGEST_RETRY_SECONDS
    assert queue.retry(B) == 0.5
    queue.succeeded(A)
    assert queue.retry(A) == 0.5
    queue.close()
