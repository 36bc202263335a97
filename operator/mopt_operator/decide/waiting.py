"""How long a run has waited without any progress. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mopt_api.status import Progress
from mopt_operator.times import parse_time

from .track import Track


@dataclass(frozen=True)
class Wait:
    """A run of which nothing proceeds.

    Attributes:
        since: When that was first seen, by the operator's clock: those of nodes may differ.
        left: Seconds until it has waited too long.
    """

    since: datetime
    left: float

    @property
    def is_over(self) -> bool:
        """Whether it has waited longer than it may."""
        return self.left <= 0


def wait_of(
    tracks: Iterable[Track], before: Progress | None, deadline_seconds: int, now: datetime
) -> Wait | None:
    """Return how long nothing has proceeded; None while something does, or waits for its turn.

    Args:
        before: What status says of this stage of this run.
        deadline_seconds: How long it may.
    """
    running = [track for track in tracks if not track.over]
    if not all(t.blocked or t.queued or t.waiting or t.create is not None for t in running):
        return None
    known = _time(before.waiting_since) if before else None
    # To create a Job is an attempt, not progress: it may be refused again.
    if not any(t.blocked or (known and t.create is not None) for t in running):
        return None
    # The clock of a replica that led before may be ahead.
    since = min(known, now) if known else now
    return Wait(since, deadline_seconds - (now - since).total_seconds())


def _time(text: str | None) -> datetime | None:
    """Return a time in status; None where somebody has put something else there."""
    try:
        found = parse_time(text) if text else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None
