"""How long a stage may take: until shortly before the kubelet would end it without a word."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from mopt_api.jobs.plan import DEADLINE_VARIABLE
from mopt_optimizer.errors import SpecError

# For ending children, removing scratch files and writing the message.
_MARGIN_SECONDS = 30.0
_MARGIN_SHARE = 0.1


def margin_of(seconds: float) -> float:
    """Return how long before its deadline a stage that has so many seconds ends itself."""
    return min(_MARGIN_SECONDS, _MARGIN_SHARE * seconds)


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


class TimeLeft:
    """The time that a stage has left; counted from when this is made, at its begin."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises SpecError, as read_deadline."""
        seconds = read_deadline(environ)
        self._end = math.inf
        if seconds is not None:
            self._end = time.monotonic() + seconds - margin_of(seconds)

    def seconds(self) -> float:
        """Return the seconds until the stage ends itself; infinity where it never does."""
        return self._end - time.monotonic()
