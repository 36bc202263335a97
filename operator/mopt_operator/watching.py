"""Notices that a watch is dead: kopf stays up, with a healthy probe, when one of its ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ._errors import OperatorError
from .handlers import RESOURCES

CHECK_SECONDS = 10.0
# Discovery and the first lists take their time in a large cluster.
START_SECONDS = 120.0
_PREFIX = "watcher for "


class WatchEnded(OperatorError):
    """A watch is not running; only a restart brings it back."""


def missing_watches(task_names: Iterable[str]) -> list[str]:
    """Return the kinds that no task of kopf's watches.

    Args:
        task_names: Of the tasks that are not done.
    """
    watched = {
        name.removeprefix(_PREFIX).partition("@")[0]
        for name in task_names
        if name.startswith(_PREFIX)
    }
    return [kind for kind in RESOURCES if kind not in watched]


async def watch_the_watches(
    *, check_seconds: float = CHECK_SECONDS, start_seconds: float = START_SECONDS
) -> None:
    """Look at kopf's tasks until a watch is missing.

    Raises:
        WatchEnded: One ended, or did not start in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + start_seconds
    while True:
        await asyncio.sleep(check_seconds)
        missing = missing_watches(task.get_name() for task in asyncio.all_tasks())
        if not missing:
            deadline = 0.0  # from now on any gap counts
        elif loop.time() > deadline:
            raise WatchEnded(f"not watched: {', '.join(missing)}")
