"""Of several operators one works; the others watch, ready to take over. A Lease says which.

The permissions it needs, in the namespace that the operator runs in:

    coordination.k8s.io  leases  get create update

Where it runs: see candidate.

kubernetes.aio.leaderelection is not used: it never releases the lease, writes local time as
UTC, and ends at the first connection error.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from mopt_operator.errors import Conflict, NotFound, OperatorError
from mopt_operator.objects import Json, Raw
from mopt_operator.times import micro_timestamp, utc_now

logger = logging.getLogger(__name__)

# A holder that has not renewed for this long is presumed dead.
DURATION_SECONDS = 15
# A holder that could not renew for this long ends: well before another one takes over.
DEADLINE_SECONDS = 10.0
RENEW_SECONDS = 2.0
# A lease that is released is taken within this time.
WAIT_SECONDS = 1.0
CALL_SECONDS = 4.0
# As long as any other call: without it the next candidate waits for DURATION_SECONDS.
RELEASE_SECONDS = CALL_SECONDS


class LeaseLost(OperatorError):
    """Another operator may be working; only a restart makes this one a candidate again."""


class Leases(Protocol):
    """The API calls that an election makes."""

    async def read_lease(self, namespace: str, name: str) -> Raw: ...
    async def create_lease(self, lease: Raw) -> Raw: ...
    async def replace_lease(self, lease: Raw) -> Raw: ...


@dataclass(frozen=True)
class Lease:
    """What a Lease object says; its times are not read, since clocks differ."""

    holder: str = ""
    duration: float = DURATION_SECONDS
    transitions: int = 0
    version: str = ""
    acquired: str | None = None


class Move(Enum):
    """What a candidate does next."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


def next_move(lease: Lease | None, identity: str, unchanged_seconds: float) -> Move:
    """Return what a candidate does next.

    Args:
        lease: None where there is none.
        unchanged_seconds: For how long this candidate has seen the lease as it is.
    """
    if lease is None:
        return Move.CREATE
    if lease.holder == identity:
        return Move.RENEW
    if not lease.holder or unchanged_seconds >= lease.duration:
        return Move.TAKE
    return Move.WAIT


def observe_lease(raw: Raw) -> Lease:
    """Reduce a coordination.k8s.io/v1 Lease."""
    spec = raw.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        duration=float(spec.get("leaseDurationSeconds") or DURATION_SECONDS),
        transitions=int(spec.get("leaseTransitions") or 0),
        version=raw["metadata"]["resourceVersion"],
        acquired=spec.get("acquireTime"),
    )


def claimed(lease: Lease | None, identity: str, now: datetime) -> Json:
    """Return the spec of a lease that a candidate holds from now on, or still."""
    mine = lease is not None and lease.holder == identity
    transitions = 0 if lease is None else lease.transitions + (not mine)
    acquired = lease.acquired if lease is not None and mine else None
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": DURATION_SECONDS,
        "acquireTime": acquired or micro_timestamp(now),
        "renewTime": micro_timestamp(now),
        "leaseTransitions": transitions,
    }


class Election:
    """What one candidate does, and what it knows of the lease.

    Args:
        lead: Called when it has got the lease.

    Attributes:
        leading: Set while this one holds the lease.
        known: The lease has been read: it is clear who holds it.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        namespace: str,
        name: str,
        identity: str,
        lead: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leading = threading.Event()
        self.known = False
        self._lead = lead
        self._leases = leases
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._lease: Lease | None = None
        self._unchanged_since = clock()
        self._renewed = clock()

    async def run(self) -> None:
        """Wait for the lease, then hold it, until cancelled.

        Raises:
            LeaseLost: It was held and could not be renewed in time, or somebody else has it.
        """
        while True:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    await self.step()
            except LeaseLost:
                raise
            except Conflict as error:
                logger.debug("Another candidate took the lease: %s", error)
            except (OperatorError, TimeoutError) as error:
                logger.warning("Cannot reach the lease: %s", str(error) or type(error).__name__)
            self._check()
            await asyncio.sleep(RENEW_SECONDS if self.leading.is_set() else WAIT_SECONDS)

    async def step(self) -> None:
        """Look at the lease once and make the next move.

        Raises:
            LeaseLost: It was held, and somebody else has it.
            OperatorError: A call failed.
        """
        began = self._clock()
        try:
            raw = await self._leases.read_lease(self._namespace, self._name)
        except NotFound:
            lease = None
        else:
            lease = observe_lease(raw)
        if lease != self._lease:
            self._lease, self._unchanged_since = lease, began
        self.known = True
        move = next_move(lease, self._identity, began - self._unchanged_since)
        if move is Move.WAIT:
            if self.leading.is_set():
                raise LeaseLost(f"the lease {self._name} is held by {lease and lease.holder}")
            return
        written = await self._write(claimed(lease, self._identity, utc_now()), lease)
        self._lease, self._unchanged_since = observe_lease(written), self._clock()
        self._renewed = began
        if not self.leading.is_set():
            logger.info("Leading: holds the lease %s/%s", self._namespace, self._name)
            self.leading.set()
            self._lead()

    def holds(self) -> bool:
        """Tell whether it has the lease, for as long as no other one can have taken it.

        From any thread: what could not be renewed in time is not held, also where nobody has
        noticed yet.
        """
        return self.leading.is_set() and self._silent() <= DEADLINE_SECONDS

    @property
    def transitions(self) -> int | None:
        """How often the lease has changed hands; None before it has been read."""
        return self._lease.transitions if self._lease else None

    async def release(self) -> None:
        """Release the lease, where it is held, so that another candidate need not wait."""
        if not self.leading.is_set() or self._lease is None:
            return
        self.leading.clear()
        spec = claimed(self._lease, self._identity, utc_now())
        free = spec | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._write(free, self._lease)
        except (OperatorError, TimeoutError) as error:
            logger.warning("Cannot release the lease: %s", str(error) or type(error).__name__)
        else:
            logger.info("Released the lease")

    def _check(self) -> None:
        """Raise LeaseLost where it could not be renewed in time."""
        if self.leading.is_set() and not self.holds():
            silent = self._silent()
            raise LeaseLost(f"the lease {self._name} could not be renewed for {silent:.0f} s")

    def _silent(self) -> float:
        return self._clock() - self._renewed

    async def _write(self, spec: Raw, lease: Lease | None) -> Raw:
        metadata = {"namespace": self._namespace, "name": self._name}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
        if lease is None:
            return await self._leases.create_lease(body | {"metadata": metadata})
        metadata["resourceVersion"] = lease.version
        return await self._leases.replace_lease(body | {"metadata": metadata})
