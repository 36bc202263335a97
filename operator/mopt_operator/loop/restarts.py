"""How often the operator's processes ended, and why, in a file that outlives each of them.

A process takes its counters with it. In a Pod the file lies in an emptyDir, which stays while the
container is started again, so the next process goes on counting.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock, Thread

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from mopt_operator.cluster.cache import Restored
from mopt_operator.cluster.candidate import end_process
from mopt_operator.cluster.election import LeaseLost
from mopt_operator.errors import OperatorError

from .watchdog import WatchDeaf, WatchEnded

logger = logging.getLogger(__name__)

STOPPED = "Stopped"
"""By SIGTERM: the kubelet's way where the liveness probe fails."""
KILLED = "Killed"
"""Without a chance to say why: out of memory, or SIGKILL."""
FAULT = "Fault"
"""By a bug."""
# Shown from the start: a rate sees no first end of a series that begins with it.
_USUAL = (
    STOPPED,
    KILLED,
    FAULT,
    *(error.__name__ for error in (LeaseLost, Restored, WatchDeaf, WatchEnded)),
)
# A disk that hangs must not keep a process alive that has lost its lease.
_PATIENCE_SECONDS = 1.0


def cause_of(error: BaseException) -> str:
    """Return what an error is called that ends the process."""
    return type(error).__name__ if isinstance(error, OperatorError) else FAULT


class Restarts(Collector):
    """Counts the ends of this container's processes, by cause.

    Args:
        path: The file; None counts nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._ends: Counter[str] = Counter()
        self._ended = False
        self._lock = Lock()

    def begin(self) -> None:
        """Read what was before, and note that this process runs."""
        if self._path is None:
            return
        try:
            before = json.loads(self._path.read_text())
            self._ends = Counter({str(cause): int(n) for cause, n in before["ends"].items()})
            if before["running"]:
                self._ends[KILLED] += 1
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("Cannot read how often the operator ended: %s", error)
        self._write(running=True)

    def ended(self, cause: str) -> None:
        """Note why this process ends; the first cause counts."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._ends[cause] += 1
        self._write(running=False)

    def end_process(self, error: BaseException) -> None:
        """Note why, and end the process at once, whatever its other threads do."""
        noting = Thread(target=self.ended, args=(cause_of(error),), daemon=True)
        noting.start()
        noting.join(_PATIENCE_SECONDS)
        end_process(error)

    def collect(self) -> Iterator[CounterMetricFamily]:
        if self._path is None:
            return
        family = CounterMetricFamily(
            "mopt_restarts",
            "Ends of the operator's process after which its container was started again, by cause.",
            labels=("cause",),
        )
        for cause in sorted({*_USUAL, *self._ends}):
            family.add_metric((cause,), self._ends[cause])
        yield family

    def _write(self, *, running: bool) -> None:
        if self._path is None:
            return
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps({"running": running, "ends": self._ends}))
            beside.replace(self._path)
        except OSError as error:
            logger.warning("Cannot note how often the operator ended: %s", error)
