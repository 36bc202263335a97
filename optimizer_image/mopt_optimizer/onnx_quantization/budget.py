"""How long a search may take."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

Clock = Callable[[], float]
"""Returns seconds, from any start."""

_RUNS = 600
_LEAST, _MOST = 60.0, 1800.0


def default_seconds(run_seconds: float) -> float:
    """Return the budget of a search that was given none: 600 runs of the FP32 model, from one
    minute to half an hour.

    Args:
        run_seconds: Of the FP32 model, for one sample.
    """
    return min(max(_RUNS * run_seconds, _LEAST), _MOST)


class Budget:
    """Seconds of a search, from when it was made.

    Attributes:
        seconds: None is without end.
        ended: Whether anyone was told that all of it is used up.
    """

    def __init__(self, seconds: float | None, clock: Clock = perf_counter) -> None:
        self.seconds = seconds
        self.ended = False
        self._clock = clock
        self._start = clock()

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        return self._clock() - self._start

    def used_up(self, share: float = 1.0) -> bool:
        """Return whether this share of the budget is used up."""
        if self.seconds is None or self.spent < share * self.seconds:
            return False
        self.ended = True
        return True
