"""The election in a thread of its own: nothing that the operator does delays it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from leases_in_memory import LeasesInMemory

from mopt_operator.cluster import election
from mopt_operator.cluster.candidate import Candidate
from mopt_operator.cluster.election import LeaseLost
from mopt_operator.times import utc_now

PATIENCE = 20.0
# What takes 15, 10 and 2 seconds in a cluster.
DEADLINE, RENEW = 1.5, 0.05


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "DEADLINE_SECONDS", DEADLINE)
    monkeypatch.setattr(election, "RENEW_SECONDS", RENEW)
    monkeypatch.setattr(election, "WAIT_SECONDS", RENEW)


class Started:
    """A candidate that runs; `ended` is set to the error that ended it."""

    def __init__(self, leases: LeasesInMemory, identity: str = "a") -> None:
        self.leads, self.over = threading.Event(), threading.Event()
        self.error: BaseException | None = None

        @asynccontextmanager
        async def connect() -> AsyncIterator[LeasesInMemory]:
            yield leases

        self.candidate = Candidate(
            connect,
            namespace="mopt",
            name="lease",
            identity=identity,
            lead=self.leads.set,
            end=self._end,
        )
        self.candidate.start()

    def _end(self, error: BaseException) -> None:
        self.error = error
        self.over.set()


async def test_lease_is_kept_while_the_event_loop_stands_still() -> None:
    leases = LeasesInMemory()
    started = Started(leases)
    assert started.leads.wait(PATIENCE)
    before = leases.writes
    time.sleep(2 * DEADLINE)
    assert started.candidate.holds()
    assert leases.writes > before
    await started.candidate.stop()
    assert leases.holder == ""
    assert started.error is None


async def test_lease_that_cannot_be_renewed_is_over_in_time() -> None:
    leases = LeasesInMemory()
    started = Started(leases)
    assert started.leads.wait(PATIENCE)
    started.candidate.fence()
    leases.down = True
    assert started.over.wait(PATIENCE)
    assert isinstance(started.error, LeaseLost)
    assert not started.candidate.holds()
    with pytest.raises(LeaseLost, match="not held"):
        started.candidate.fence()
    assert leases.seconds_since_write() >= DEADLINE


async def test_lease_that_somebody_else_has_is_over_at_once() -> None:
    leases = LeasesInMemory()
    started = Started(leases)
    assert started.leads.wait(PATIENCE)
    leases.seize("b")
    assert started.over.wait(PATIENCE)
    assert "held by b" in str(started.error)
    await started.candidate.stop()
    assert leases.holder == "b"


async def test_second_takes_what_the_first_gives_back() -> None:
    leases = LeasesInMemory()
    first = Started(leases)
    assert first.leads.wait(PATIENCE)
    second = Started(leases, "b")
    while not second.candidate.known:
        await asyncio.sleep(0.01)
    assert not second.candidate.holds()
    await first.candidate.stop()
    assert second.leads.wait(PATIENCE)
    assert leases.holder == "b"
    assert second.candidate.transitions == 1
    await second.candidate.stop()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_clocks_of_the_nodes_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    leases = LeasesInMemory()
    first = Started(leases)
    assert first.leads.wait(PATIENCE)
    monkeypatch.setattr(election, "utc_now", lambda: utc_now() + timedelta(hours=hours))
    second = Started(leases, "b")
    time.sleep(DEADLINE)
    assert (first.candidate.holds(), second.candidate.holds()) == (True, False)
    for started in (second, first):
        await started.candidate.stop()


async def test_connection_that_cannot_be_opened_ends_the_process() -> None:
    @asynccontextmanager
    async def refuse() -> AsyncIterator[LeasesInMemory]:
        raise OSError("no route")
        yield LeasesInMemory()

    told: list[BaseException] = []
    candidate = Candidate(
        refuse, namespace="mopt", name="lease", identity="a", lead=print, end=told.append
    )
    candidate.start()
    await candidate.stop()
    assert [str(error) for error in told] == ["no route"]


STUCK = """
from contextlib import asynccontextmanager
from leases_in_memory import LeasesInMemory
from mopt_operator.cluster import election
from mopt_operator.cluster.candidate import Candidate

election.DEADLINE_SECONDS, election.RENEW_SECONDS = 0.5, 0.05
leases = LeasesInMemory()

@asynccontextmanager
async def connect():
    yield leases

def lead():
    leases.down = True

candidate = Candidate(
    connect, namespace="mopt", name="lease", identity="a", lead=lead
)
candidate.start()
while True:
    pass
"""


def test_process_ends_though_its_event_loop_is_stuck() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "mopt-operator: the lease lease could not be renewed for "
    )
