"""Who works: pure moves, then two candidates and one Lease."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from leases_in_memory import LeasesInMemory

from mopt_operator.cluster import election
from mopt_operator.cluster.election import Election, Lease, LeaseLost, Move, claimed, next_move

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lease", "unchanged", "move"),
    [
        (None, 0, Move.CREATE),
        (Lease(holder="me"), 0, Move.RENEW),
        (Lease(holder="me"), 1e6, Move.RENEW),
        (Lease(holder="other", duration=15), 14.9, Move.WAIT),
        (Lease(holder="other", duration=15), 15, Move.TAKE),
        (Lease(holder=""), 0, Move.TAKE),
    ],
)
def test_next_move(lease: Lease | None, unchanged: float, move: Move) -> None:
    assert next_move(lease, "me", unchanged) is move


def test_first_claim_starts_the_count() -> None:
    assert claimed(None, "me", NOW) == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-01T12:00:00.000000Z",
        "renewTime": "2026-11-01T12:00:00.000000Z",
        "leaseTransitions": 0,
    }


def test_renewal_keeps_the_time_of_acquiring_and_taking_over_does_not() -> None:
    lease = Lease(holder="me", acquired="2026-11-01T11:00:00.000000Z", transitions=3)
    assert claimed(lease, "me", NOW)["acquireTime"] == "2026-11-01T11:00:00.000000Z"
    assert claimed(lease, "me", NOW)["leaseTransitions"] == 3
    assert claimed(lease, "you", NOW)["acquireTime"] == "2026-11-01T12:00:00.000000Z"
    assert claimed(lease, "you", NOW)["leaseTransitions"] == 4


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases() -> LeasesInMemory:
    return LeasesInMemory()


def candidate(leases: LeasesInMemory, clock: Clock, identity: str) -> Election:
    return Election(leases, namespace="mopt", name="lease", identity=identity, clock=clock)


async def test_first_candidate_leads_and_the_second_waits(
    leases: LeasesInMemory, clock: Clock
) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    assert (first.leading.is_set(), second.leading.is_set()) == (True, False)
    assert second.known
    assert leases.holder == "a"


async def test_dead_holder_is_replaced_once_its_time_is_over(
    leases: LeasesInMemory, clock: Clock
) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    clock.time += 14
    await first.step()
    await second.step()
    clock.time += 14
    await second.step()
    assert not second.leading.is_set()
    clock.time += 1
    await second.step()
    assert second.leading.is_set()
    with pytest.raises(LeaseLost, match="held by b"):
        await first.step()


async def test_lease_given_back_is_taken_at_once(leases: LeasesInMemory, clock: Clock) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    await first.release()
    assert not first.leading.is_set()
    await second.step()
    assert leases.holder == "b"


async def test_standby_gives_nothing_back(leases: LeasesInMemory, clock: Clock) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    await second.release()
    assert leases.holder == "a"


async def test_release_survives_an_unreachable_server(
    leases: LeasesInMemory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first = candidate(leases, clock, "a")
    await first.step()
    leases.down = True
    await first.release()
    assert "Cannot release the lease: no answer" in caplog.text


async def test_release_does_not_wait_for_a_server_that_says_nothing(
    leases: LeasesInMemory,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = candidate(leases, clock, "a")
    await first.step()
    monkeypatch.setattr("mopt_operator.cluster.election.RELEASE_SECONDS", 0.01)
    monkeypatch.setattr(leases, "replace_lease", lambda *_: asyncio.sleep(60))
    await first.release()
    assert "Cannot release the lease: TimeoutError" in caplog.text


async def test_lease_deleted_by_somebody_is_made_again(
    leases: LeasesInMemory, clock: Clock
) -> None:
    first = candidate(leases, clock, "a")
    await first.step()
    leases.raw = None
    await first.step()
    assert leases.holder == "a"


async def test_leader_that_cannot_renew_ends_before_another_one_takes_over(
    leases: LeasesInMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "RENEW_SECONDS", 0.0)
    first = candidate(leases, clock, "a")
    await first.step()
    leases.down = True
    running = asyncio.create_task(first.run())
    await asyncio.sleep(0.01)
    assert not running.done()
    clock.time += election.DEADLINE_SECONDS + 0.1
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(running, 5)
    assert election.DEADLINE_SECONDS + election.CALL_SECONDS < election.DURATION_SECONDS


async def test_candidate_survives_an_unreachable_server(
    leases: LeasesInMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "WAIT_SECONDS", 0.0)
    first = candidate(leases, clock, "a")
    leases.down = True
    running = asyncio.create_task(first.run())
    await asyncio.sleep(0.01)
    assert not first.known
    leases.down = False
    assert await asyncio.to_thread(first.leading.wait, 5)
    running.cancel()


async def test_nobody_believes_to_lead_beyond_the_time_of_the_lease(
    leases: LeasesInMemory, clock: Clock
) -> None:
    first = candidate(leases, clock, "a")
    assert not first.holds()
    await first.step()
    clock.time += election.DEADLINE_SECONDS
    assert first.holds()
    clock.time += 0.1
    assert not first.holds()
    await first.step()
    assert first.holds()
