"""What /readyz says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from .watchdog import missing_watches


class Readiness:
    """Whether the operator works, or is ready to.

    A standby is ready once it knows what there is. One that leads from its start has looked at all
    of it once, too: during a rollout the next Pod is replaced only then. Who was ready as a standby
    stays ready when it takes over.

    Attributes:
        filled: All that there is has been listed.
        watching: The watches have been started.
    """

    def __init__(self, namespaces: Sequence[str] = (), *, offers: bool = False) -> None:
        self.filled, self.watching = asyncio.Event(), asyncio.Event()
        self._namespaces = namespaces
        self._offers = offers
        self._was_ready = False

    def lacking(
        self, task_names: Iterable[str], *, lease_known: bool, leads: bool, unseen: int
    ) -> list[str]:
        """Return what is missing, a line each.

        Args:
            task_names: Of the tasks that are not done.
            lease_known: It is clear who leads, or there is no election.
            unseen: How many resources have not been looked at since the start.
        """
        lines = []
        if not self.filled.is_set():
            lines.append("the resources, Jobs and Pods have not been listed")
        elif not self.watching.is_set():
            lines.append("the watches have not been started")
        elif missing := missing_watches(task_names, self._namespaces, offers=self._offers):
            lines.append(f"not watched: {', '.join(missing)}")
        if not lease_known:
            lines.append("the lease has not been read")
        if leads and unseen and not self._was_ready:
            lines.append(f"{unseen} resources have not been looked at since the start")
        self._was_ready |= not lines
        return lines
