"""An election in a thread with an event loop and a connection of its own.

Nothing that the operator does can delay the renewal of its lease. Once the lease is lost the thread
ends the process (os._exit) without cleaning up, since the event loop that would do it may be what
is stuck. It leaves nothing half-done: names of Jobs follow from what they are to do, and a status
is written only over the version that was read.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager

from .election import RELEASE_SECONDS, Election, LeaseLost, Leases
from .threads import LoopThread


def end_process(error: BaseException) -> None:
    """End the process at once, whatever its other threads do."""
    print(f"mopt-operator: {error}", file=sys.stderr, flush=True)
    os._exit(1)


class Candidate:
    """An election in a thread of its own.

    Args:
        leases: Opens a connection, in that thread.
        lead: Called in that thread when it has got the lease.
        end: Called in that thread when the election cannot go on.
    """

    def __init__(
        self,
        leases: Callable[[], AbstractAsyncContextManager[Leases]],
        *,
        namespace: str,
        name: str,
        identity: str,
        lead: Callable[[], object],
        end: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._leases = leases
        self._lease = (namespace, name)
        self._identity = identity
        self._lead = lead
        self._end = end
        self._election: Election | None = None
        self._thread = LoopThread("lease", self._run)
        self._thread.ended.add_done_callback(self._ended)

    @property
    def known(self) -> bool:
        """Whether it is clear who holds the lease."""
        return self._election is not None and self._election.known

    @property
    def transitions(self) -> int | None:
        """See Election.transitions."""
        return self._election.transitions if self._election else None

    def start(self) -> None:
        self._thread.start()

    def holds(self) -> bool:
        """See Election.holds."""
        return self._election is not None and self._election.holds()

    def fence(self) -> None:
        """Let nothing be written by one that does not lead.

        Raises:
            LeaseLost: It does not hold the lease.
        """
        if not self.holds():
            raise LeaseLost(f"the lease {self._lease[1]} is not held any more")

    async def stop(self) -> None:
        """Release the lease, where it is held, and end the thread."""
        await self._thread.end(2 * RELEASE_SECONDS)

    async def _run(self, stop: asyncio.Event) -> None:
        async with self._leases() as leases:
            namespace, name = self._lease
            election = Election(
                leases, namespace=namespace, name=name, identity=self._identity, lead=self._lead
            )
            self._election = election
            running = asyncio.create_task(election.run())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            running.cancel()
            await asyncio.wait({running})
            await election.release()

    def _ended(self, ended: Future[None]) -> None:
        if error := ended.exception():
            self._end(error)
