"""Progress as JSON lines: what a Job's log shows while it runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TextIO


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
    """A log that keeps the step that was named last."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.last = ""

    def __call__(self, step: str, message: str, **fields: object) -> None:
        self.last = step
        self._log(step, message, **fields)


class Timings:
    """Seconds per step, in the order of the steps."""

    def __init__(self, log: Log) -> None:
        self.seconds: dict[str, float] = {}
        self._log = log

    @contextmanager
    def step(self, name: str, message: str) -> Iterator[None]:
        """Log the step's start and, when it ends without error, its time.

        One that is taken again adds to its seconds.
        """
        self._log(name, message)
        started = time.monotonic()
        yield
        taken = time.monotonic() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + taken, 3)
        self._log(name, "done", seconds=round(taken, 3))
