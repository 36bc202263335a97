"""Progress as JSON lines: what a Job's log shows while it runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TextIO

STATE = "state"
"""Field of a line by which a step begins or ends: one of the following."""
BEGUN, DONE, FAILED = "begun", "done", "failed"


class Log(Protocol):
    """Called with the step, a sentence for people, and figures for machines."""

    def __call__(self, step: str, message: str, **fields: object) -> None: ...


def json_log(stream: TextIO | None = None) -> Log:
    """Return a log that writes one JSON object per line, to standard output by default."""

    def log(step: str, message: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": now, "step": step, "message": message} | fields
        print(json.dumps(line, default=str), file=stream or sys.stdout, flush=True)

    return log


class LastStep:
    """A log that keeps the step that was named last: where one failed, not those around it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.last = ""

    def __call__(self, step: str, message: str, **fields: object) -> None:
        if fields.get(STATE) != FAILED:
            self.last = step
        self._log(step, message, **fields)


@contextmanager
def step(
    log: Log, name: str, message: str, *, end: str = "done", **fields: object
) -> Iterator[Callable[[], float]]:
    """Log a step's start and end; yield what returns the seconds that it has taken.

    Args:
        end: Said at its end.
        fields: Told at both, such as the variant that it is about.
    """
    started = time.monotonic()

    def taken() -> float:
        return round(time.monotonic() - started, 3)

    log(name, message, **fields, **{STATE: BEGUN})
    try:
        yield taken
    except Exception:
        log(name, "failed", **fields, **{STATE: FAILED})
        raise
    log(name, end, **fields, seconds=taken(), **{STATE: DONE})


class Timings:
    """Seconds per step, in the order of the steps."""

    def __init__(self, log: Log) -> None:
        self.seconds: dict[str, float] = {}
        self._log = log

    @contextmanager
    def step(self, name: str, message: str) -> Iterator[None]:
        """Log the step's start and its end; keep its time where it ends without error.

        One that is taken again adds to its seconds.
        """
        with step(self._log, name, message) as taken:
            yield
            self.seconds[name] = round(self.seconds.get(name, 0.0) + taken(), 3)
