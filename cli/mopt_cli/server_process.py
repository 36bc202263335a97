"""Runs the server of a folder as a process of its own, which gets this one's signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_server(arguments: Sequence[str]) -> int:
    """Run the server until it ends or a signal ends it; return its exit status."""
    command = [sys.executable, "-P", "-m", "mopt_optimizer.server", *arguments]
    # In a session of its own: Ctrl-C in a terminal would reach it twice, and ends it at once then.
    with subprocess.Popen(command, start_new_session=True) as process:

        def forward(number: int, _frame: FrameType | None) -> None:
            process.send_signal(number if number != signal.SIGHUP else signal.SIGTERM)

        before = {number: signal.signal(number, forward) for number in _SIGNALS}
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
