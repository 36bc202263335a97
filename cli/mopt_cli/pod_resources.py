"""Resources of a container that serves, as Kubernetes writes them. Pure."""

from __future__ import annotations

import math

from mopt_api.figures import Hardware

_MEMORY_STEP = 64 * 2**20
_MEMORY_ROOM = 1.25
"""Of memory beyond the largest measured: a server's own buffers and connections."""


def served_cpus(hardware: Hardware, threads: int | None, copies: int) -> float | None:
    """Return the CPU limit to serve with: that of the measurement where the copies fill it.

    Of a limit of 1.5 a copy of one thread fills the whole CPU that it may compute on; the rest is
    for what hands requests on, as it was in the measurement. Copies that leave whole CPUs idle need
    as many as they have threads.

    Args:
        threads: Of each copy; None where they are not known, and then the limit is not.
    """
    if threads is None:
        return None
    needed = copies * threads
    measured = hardware.cpus or hardware.threads or needed
    return float(measured if needed >= math.floor(measured) else needed)


def cpu_quantity(cpus: float) -> str:
    """Return CPUs as a quantity: 2, 1500m."""
    milli = math.ceil(round(1000 * cpus, 6))
    return f"{milli // 1000}" if milli % 1000 == 0 else f"{milli}m"


def memory_quantity(peak_bytes: int | None, copies: int) -> str | None:
    """Return memory for so many copies, each as large as one that was measured, with room.

    Args:
        peak_bytes: Of one; None where it is not known, and then the memory is not.
    """
    if peak_bytes is None:
        return None
    needed = peak_bytes * copies * _MEMORY_ROOM
    return f"{math.ceil(needed / _MEMORY_STEP) * _MEMORY_STEP // 2**20}Mi"
