"""What memory a process has used."""

from __future__ import annotations

import resource
from pathlib import Path

_KIB = 1024


def peak_memory_bytes() -> int:
    """Return this process's largest resident set.

    ru_maxrss would start at the parent's size: the kernel carries it over fork and exec.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * _KIB
