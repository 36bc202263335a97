"""How long a child may take for an answer, and for each step on the way there."""

from __future__ import annotations

import time
from collections.abc import Callable

TOO_LONG = "took too long"


class Clock:
    """Runs while one answer is awaited.

    A step's time is that of all its parts together: telling of it again gives no more.
    """

    def __init__(
        self, timeout: float | None = None, patience: Callable[[str], float] | None = None
    ) -> None:
        """Start.

        Args:
            timeout: Seconds for the answer; None is without end.
            patience: From a step, empty before the first, to its longest time in seconds; None is
                without end.
        """
        self._end = None if timeout is None else time.monotonic() + timeout
        self._patience = patience
        self._spent: dict[str, float] = {}
        self._step, self._since = "", time.monotonic()

    def enter(self, step: str) -> None:
        """Note the step that the child tells of."""
        now = time.monotonic()
        self._spent[self._step] = self._spent.get(self._step, 0.0) + now - self._since
        self._step, self._since = step, now

    def left(self) -> tuple[float | None, str]:
        """Return the seconds that are left, None without end, and what it is when they are over."""
        now = time.monotonic()
        total = None if self._end is None else self._end - now
        if self._patience is None:
            return total, TOO_LONG
        longest = self._patience(self._step)
        by_step = longest - self._spent.get(self._step, 0.0) - (now - self._since)
        if total is not None and total <= by_step:
            return total, TOO_LONG
        return by_step, f"took more than {longest:g} s for {self._step or 'its start'}"
