"""The end of a stage that takes too long, before the kubelet would end it without a word."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mopt_optimizer.stages.time_left import margin_of


class TimeIsUp(SystemExit):
    """Unwinds as SIGTERM does: nothing on the way takes it for a failure of its own work."""


@contextmanager
def ending_before(seconds: float | None, last_words: Callable[[], None]) -> Iterator[None]:
    """Raise TimeIsUp in the block shortly before that many seconds have passed.

    Args:
        seconds: None for no end.
        last_words: Called where half of the margin did not do for unwinding, to end the process.
    """
    if seconds is None:
        yield
        return
    margin = margin_of(seconds)
    rung = False

    def ring(_number: int, _frame: FrameType | None) -> None:
        nonlocal rung
        if rung:
            last_words()
        rung = True
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds - margin, margin / 2)
    try:
        yield
    finally:
        if rung:
            # It stays set, since threads may keep the process from its end; but not beyond them,
            # where the interpreter has put the kernel's handler back.
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
