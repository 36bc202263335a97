"""The end of a stage that takes too long, before the kubelet would end it without a word."""

from __future__ import annotations

import atexit
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from mopt_api.jobs.plan import DEADLINE_VARIABLE
from mopt_optimizer.errors import SpecError

# For ending children, removing scratch files and writing the message.
_MARGIN_SECONDS = 30.0
_MARGIN_SHARE = 0.1


class TimeIsUp(SystemExit):
    """Unwinds as SIGTERM does: nothing on the way takes it for a failure of its own work."""


def read_deadline(environ: Mapping[str, str]) -> float | None:
    """Return the seconds that the stage has; None for no end.

    Raises:
        SpecError: The variable holds no such number.
    """
    text = environ.get(DEADLINE_VARIABLE)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise SpecError(f"{DEADLINE_VARIABLE} is no number of seconds: {text}")
    return seconds


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
    margin = min(_MARGIN_SECONDS, _MARGIN_SHARE * seconds)
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
