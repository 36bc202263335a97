"""Ctrl-C and similar signals end a command in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ._errors import CliError, ExitCode


@contextmanager
def interruptible(consequence: str = "no partial files are left") -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into the end of the command, children first.

    Args:
        consequence: What it means, for the user.

    Raises:
        CliError: One of them was received.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    except KeyboardInterrupt as error:
        raise CliError(f"interrupted; {consequence}", ExitCode.INTERRUPTED) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
