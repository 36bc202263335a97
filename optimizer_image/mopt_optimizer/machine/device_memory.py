"""What one process has of a GPU's memory, from what all processes have. Pure.

A driver tells a container what is in use on the GPU, and nothing of single processes: their numbers
are another namespace's. But variants' processes work one at a time, each while the others wait, so
what changes while a process works belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class DeviceMeter:
    """Adds up what a process takes of the device's memory and gives back.

    Args:
        used: Bytes in use on the device, by all; None where it is not known.
    """

    def __init__(self, used: Callable[[], int | None]) -> None:
        self._used = used
        self._own = 0
        self.peak_bytes: int | None = None

    def during(self, work: Callable[[], Answer]) -> Answer:
        """Do a piece of work, and count what the device's memory changed by."""
        before = self._used()
        try:
            return work()
        finally:
            after = self._used()
            if before is not None and after is not None:
                self._own += after - before
                self.peak_bytes = max(self.peak_bytes or 0, self._own)
