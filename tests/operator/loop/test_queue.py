"""The work queue: one worker per key, nothing lost."""

from __future__ import annotations

import asyncio

import pytest

from mopt_operator.loop.queue import FAIR_TURN, LONGEST_RETRY_SECONDS, SOON_SECONDS, WorkQueue

A, B = ("team", "a"), ("team", "b")
C = ("team", "c")


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


async def test_what_is_not_urgent_is_looked_at_once_for_all_of_it() -> None:
    queue = WorkQueue()
    for _ in range(3):
        queue.add_soon(A)
    assert len(queue) == 0
    queue.done(await asyncio.wait_for(queue.get(), 5))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 2 * SOON_SECONDS)
    queue.add_soon(A)
    assert await asyncio.wait_for(queue.get(), 5) == A


async def test_look_meanwhile_stands_for_the_one_that_was_to_come() -> None:
    queue = WorkQueue()
    queue.add_soon(A)
    queue.add(A)
    queue.done(await queue.get())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 2 * SOON_SECONDS)


async def test_what_happens_during_a_look_brings_another() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.add_soon(A)
    queue.done(A)
    assert await asyncio.wait_for(queue.get(), 5) == A


async def test_closed_queue_forgets_its_timers() -> None:
    queue = WorkQueue()
    queue.add_after(A, 0.01)
    queue.add_soon(B)
    queue.close()
    await asyncio.sleep(2 * SOON_SECONDS)
    assert len(queue) == 0


async def test_delays_double_up_to_a_bound_and_start_anew_after_success() -> None:
    queue = WorkQueue()
    assert [queue.retry(A) for _ in range(4)] == [0.5, 1, 2, 4]
    assert [queue.retry(A) for _ in range(2000)][-1] == LONGEST_RETRY_SECONDS
    assert queue.retry(B) == 0.5
    queue.succeeded(A)
    assert queue.retry(A) == 0.5
    queue.close()


async def test_what_is_settled_waits_behind_what_happens() -> None:
    queue = WorkQueue()
    queue.add(A, later=True)
    queue.add(B, later=True)
    queue.add(C)
    assert [await queue.get() for _ in range(3)] == [C, A, B]


async def test_settled_key_to_which_something_happens_goes_ahead() -> None:
    queue = WorkQueue()
    for key in (A, B):
        queue.add(key, later=True)
    queue.add(B)
    queue.add(A, later=True)
    assert [await queue.get(), await queue.get()] == [B, A]
    assert len(queue) == 0


async def test_nothing_waits_for_ever_behind_what_is_busy() -> None:
    queue = WorkQueue()
    queue.add(A, later=True)
    for _ in range(FAIR_TURN):
        queue.add(B)
        key = await queue.get()
        queue.done(key)
        if key == A:
            return
    raise AssertionError("B alone was given")


async def test_first_pass_ends_when_each_key_has_been_given_back() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add(B, later=True)
    queue.begin_first_pass()
    queue.add(C)
    unseen = [queue.unseen]
    for _ in range(3):
        queue.done(await queue.get())
        unseen.append(queue.unseen)
    assert unseen == [2, 1, 1, 0]


async def test_workers_that_never_wait_let_others_run() -> None:
    queue, turns = WorkQueue(), 0

    async def work() -> None:
        while True:
            queue.done(await queue.get())

    worker = asyncio.create_task(work())
    for number in range(100):
        queue.add(("team", str(number)))
    while len(queue):
        turns += 1
        await asyncio.sleep(0)
    worker.cancel()
    assert turns >= 100


async def test_wait_is_told_from_the_first_ask_until_a_worker_takes_the_key() -> None:
    now = 0.0
    queue = WorkQueue(clock=lambda: now)
    waits: list[float] = []
    queue.waited = waits.append
    queue.add(A)
    now = 1000.0  # a standby becomes the leader: until then nobody was to take anything
    await queue.get()
    queue.add(A)  # comes back once it is done
    queue.add(A)
    now = 1007.0
    queue.done(A)
    await queue.get()
    queue.add(B, later=True)
    now = 1009.0
    await queue.get()
    assert waits == [0, 7, 2]
