"""Ctrl-C and its like end a command in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ._errors import CliError, ExitCode


@contextmanager
def interruptible(consequence: str = "nothing half-written is left") -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into the end of the command, children first.

    Args:
        consequence: What the user is told of it.

    Raises:
        CliError: One of them came.
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
