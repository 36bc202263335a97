"""Which measurements others spoilt, and what is done then: they are repeated, then called unstable.

Every form at a point is timed in the same rounds, so they are disturbed, and repeated, together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from mopt_optimizer.machine.run_queues import Turns
from mopt_optimizer.machine.system import Counters
from mopt_optimizer.progress import Log

# The kubelet's cpuCFSQuotaPeriod, and the kernel's default.
_PERIOD_SECONDS = 0.1
# Of the time. A call in a throttled period ends late. With one period in twenty the median moves
# within what differs from run to run anyway, and 90 of 100 calls are clean; more reach p90.
THROTTLED_SHARE = 0.05
# Of the CPU time that was wanted. Steal makes calls longer by about its share, and not those of all
# forms alike; below a twentieth no speedup that is worth having changes sides.
STEAL_SHARE = 0.05
# Of the CPU time that the variants' threads wanted. By themselves they wait for 1.5 % of it at
# most; beside the daemons of a cluster on the same two CPUs for 6 %, with speedups as without
# them; beside one busy loop for 40 % and more (docs/optimizer/measuring.md).
WAITED_SHARE = 0.10
# What a thread waits before each turn without any neighbour, to be woken: 1 to 12 microseconds
# (docs/optimizer/measuring.md).
WAKE_UP_SECONDS = 10e-6
REPETITIONS = 2


@dataclass(frozen=True)
class Shares:
    """How much others had, each 0 to 1; None where it is not told.

    Attributes:
        throttled: Part of the time in quota periods that were cut short.
        stolen: Part of the CPU time wanted on this machine that the hypervisor gave to others. Not
            of all CPU time: an idle CPU has nothing that could be stolen.
        waited: Part of the CPU time wanted by the variants' threads that they waited for, being
            woken left out.
    """

    throttled: float | None
    stolen: float | None
    waited: float | None = None

    @property
    def severity(self) -> float:
        """The worst of them, in units of its threshold: above 1 is disturbed."""
        return max(
            (self.throttled or 0) / THROTTLED_SHARE,
            (self.stolen or 0) / STEAL_SHARE,
            (self.waited or 0) / WAITED_SHARE,
        )

    def words(self) -> str:
        """Return the figures for people."""
        parts = (
            (self.throttled, "throttled {:.0%} of the time"),
            (self.stolen, "{:.0%} of the CPU time stolen"),
            (self.waited, "threads waited for a CPU {:.0%} of the time that they wanted one"),
        )
        return ", ".join(words.format(share) for share, words in parts if share is not None)


def shares(before: Counters, after: Counters, seconds: float) -> Shares:
    """Return what others had between two readings.

    Args:
        seconds: Time between them, above 0.
    """
    throttled = stolen = None
    if before.throttled_periods is not None and after.throttled_periods is not None:
        periods = after.throttled_periods - before.throttled_periods
        throttled = min(1.0, max(0.0, periods * _PERIOD_SECONDS / seconds))
    if (
        before.steal_seconds is not None
        and after.steal_seconds is not None
        and before.busy_seconds is not None
        and after.busy_seconds is not None
    ):
        steal = max(0.0, after.steal_seconds - before.steal_seconds)
        wanted = steal + max(0.0, after.busy_seconds - before.busy_seconds)
        stolen = steal / wanted if wanted else 0.0
    return Shares(throttled, stolen, _waited(before.turns, after.turns))


def _waited(before: Turns | None, after: Turns | None) -> float | None:
    if before is None or after is None:
        return None
    woken = (after.number - before.number) * WAKE_UP_SECONDS
    waited = max(0.0, after.waited - before.waited - woken)
    wanted = waited + max(0.0, after.ran - before.ran)
    return waited / wanted if wanted else 0.0


def is_disturbed(before: Counters, after: Counters, seconds: float) -> bool:
    """Tell whether others had so much between two readings that figures are not to be trusted."""
    return shares(before, after, seconds).severity > 1


def judged_counters(
    counters: Callable[[], Counters], threads: int, cpus: float
) -> Callable[[], Counters]:
    """Return counters without what the variants' own threads do to each other.

    Args:
        threads: A runtime's.
        cpus: What they may use; with more threads than that they wait whoever else there is.
    """
    if threads <= cpus:
        return counters
    return lambda: replace(counters(), turns=None)


Figures = TypeVar("Figures")


def measure_steadily(
    measure: Callable[[], Figures],
    counters: Callable[[], Counters],
    log: Log,
    *,
    repetitions: int = REPETITIONS,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Figures, str | None]:
    """Measure until nothing disturbs it, three times at most.

    Args:
        repetitions: How often it may be measured again.
        clock: Seconds.

    Returns:
        The figures that were least disturbed, and what disturbed them; None where nothing did.
    """
    found: list[tuple[float, Figures, str]] = []
    for repetition in range(repetitions + 1):
        before, started = counters(), clock()
        figures = measure()
        after, seconds = counters(), clock() - started
        if not is_disturbed(before, after, seconds):
            return figures, None
        had = shares(before, after, seconds)
        found.append((had.severity, figures, had.words()))
        what = "measuring again" if repetition < repetitions else "unstable"
        log("benchmark", f"disturbed ({had.words()}): {what}", repetition=repetition)
    _, figures, words = min(found, key=lambda one: one[0])
    return figures, f"{words}, the least of {len(found)} measurements"
