"""Who works: pure moves, then two candidates and one Lease."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from mopt_operator.cluster import election
from mopt_operator.cluster.election import Election, Lease, LeaseLost, Move, claimed, next_move
from mopt_operator.errors import Conflict, NotFound, Unreachable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

Json = dict[str, Any]


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


class FakeLeases:
    """One Lease; `down` makes every call fail."""

    def __init__(self) -> None:
        self.raw: Json | None = None
        self.down = False
        self._version = 0

    def _put(self, lease: Mapping[str, Any]) -> Json:
        self._version += 1
        self.raw = copy.deepcopy(dict(lease))
        self.raw["metadata"]["resourceVersion"] = str(self._version)
        return self.raw

    def _answer(self) -> None:
        if self.down:
            raise Unreachable("no answer")

    async def read_lease(self, namespace: str, name: str) -> Json:
        self._answer()
        if self.raw is None:
            raise NotFound(404, "NotFound", name)
        return copy.deepcopy(self.raw)

    async def create_lease(self, lease: Mapping[str, Any]) -> Json:
        self._answer()
        if self.raw is not None:
            raise Conflict(409, "AlreadyExists", "")
        return self._put(lease)

    async def replace_lease(self, lease: Mapping[str, Any]) -> Json:
        self._answer()
        if self.raw is None:
            raise NotFound(404, "NotFound", "")
        if lease["metadata"]["resourceVersion"] != self.raw["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        return self._put(lease)

    @property
    def holder(self) -> str:
        assert self.raw is not None
        return str(self.raw["spec"]["holderIdentity"])


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases()


def candidate(leases: FakeLeases, clock: Clock, identity: str) -> Election:
    return Election(leases, namespace="mopt", name="lease", identity=identity, clock=clock)


async def test_first_candidate_leads_and_the_second_waits(leases: FakeLeases, clock: Clock) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    assert (first.leading.is_set(), second.leading.is_set()) == (True, False)
    assert second.known
    assert leases.holder == "a"


async def test_dead_holder_is_replaced_once_its_time_is_over(
    leases: FakeLeases, clock: Clock
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


async def test_lease_given_back_is_taken_at_once(leases: FakeLeases, clock: Clock) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    await first.release()
    assert not first.leading.is_set()
    await second.step()
    assert leases.holder == "b"


async def test_standby_gives_nothing_back(leases: FakeLeases, clock: Clock) -> None:
    first, second = candidate(leases, clock, "a"), candidate(leases, clock, "b")
    await first.step()
    await second.step()
    await second.release()
    assert leases.holder == "a"


async def test_release_survives_an_unreachable_server(
    leases: FakeLeases, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first = candidate(leases, clock, "a")
    await first.step()
    leases.down = True
    await first.release()
    assert "Cannot release the lease: no answer" in caplog.text


async def test_lease_deleted_by_somebody_is_made_again(leases: FakeLeases, clock: Clock) -> None:
    first = candidate(leases, clock, "a")
    await first.step()
    leases.raw = None
    await first.step()
    assert leases.holder == "a"


async def test_leader_that_cannot_renew_ends_before_another_one_takes_over(
    leases: FakeLeases, clock: Clock, monkeypatch: pytest.MonkeyPatch
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
    leases: FakeLeases, clock: Clock, monkeypatch: pytest.MonkeyPatch
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
