"""Notices that a watch is dead or deaf, which leaves kopf running and its probe healthy.

Three things guard a watch. kopf reopens one that was silent for longer than the API server's
bookmarks allow. What is known from elsewhere, the watch must show too: otherwise the process ends
and is started again. And a comparison of everything with the cluster, every few minutes, finds
what any watch missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from mopt_operator.cluster.cache import Store
from mopt_operator.errors import OperatorError

from .watches import PROFILES, RESOURCES, SILENT_SECONDS

CHECK_SECONDS = 10.0
# Discovery and the first lists take their time in a large cluster.
START_SECONDS = 120.0
# Longer than kopf takes to reopen a silent watch, which then shows what it missed.
DEAF_SECONDS = SILENT_SECONDS + 30.0
_PREFIX = "watcher for "


class WatchEnded(OperatorError):
    """A watch is not running; only a restart brings it back."""


class WatchDeaf(OperatorError):
    """A watch does not show what exists; a restart reopens it."""


def missing_watches(
    task_names: Iterable[str], namespaces: Sequence[str] = (), *, offers: bool = False
) -> list[str]:
    """Return what no task of kopf's watches: kinds, or KIND@NAMESPACE.

    Args:
        task_names: Of the tasks that are not done.
        namespaces: Those that are watched; empty for the whole cluster.
        offers: OptimizationProfiles are to be watched, which are in no namespace.
    """
    watched = {name.removeprefix(_PREFIX) for name in task_names if name.startswith(_PREFIX)}
    expected = {f"{kind}@{namespace}" for kind in RESOURCES for namespace in namespaces} or {
        f"{kind}@{None}" for kind in RESOURCES
    }
    if offers:
        expected.add(f"{PROFILES}@{None}")
    return sorted(name.removesuffix(f"@{None}") for name in expected - watched)


def deaf_watches(store: Store, now: float, deaf_seconds: float = DEAF_SECONDS) -> list[str]:
    """Return a line for each watch that has not shown what is known from elsewhere.

    Args:
        now: On the clock of time.monotonic.
    """
    lines = []
    for kind, known in store.kinds().items():
        unseen = known.awaited.oldest()
        if unseen is not None and now - unseen.since > deaf_seconds:
            lines.append(
                f"the watch of {kind} has not shown {unseen.name} at version {unseen.version} "
                f"for {now - unseen.since:.0f} s"
            )
    return lines


async def watch_the_watches(
    store: Store,
    namespaces: Sequence[str] = (),
    *,
    filled: asyncio.Event | None = None,
    check_seconds: float = CHECK_SECONDS,
    start_seconds: float = START_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Check kopf's tasks, and what they have shown, until a watch is missing or deaf.

    Args:
        namespaces: See missing_watches.
        filled: Kopf is started once it is set; the first lists of a large cluster take long.

    Raises:
        WatchEnded: One ended, or did not start in time.
        WatchDeaf: One does not show what exists.
    """
    if filled is not None:
        await filled.wait()
    deadline = clock() + start_seconds
    while True:
        await asyncio.sleep(check_seconds)
        names = (task.get_name() for task in asyncio.all_tasks())
        missing = missing_watches(names, namespaces, offers=store.offers_watched)
        if not missing:
            deadline = 0.0  # from now on any gap counts
        elif clock() > deadline:
            raise WatchEnded(f"not watched: {', '.join(missing)}")
        if deaf := deaf_watches(store, clock()):
            raise WatchDeaf("; ".join(deaf))
