"""How many threads a process may compute with."""

from __future__ import annotations

import os

THREADS_VARIABLE = "OMP_NUM_THREADS"


def granted_threads() -> int:
    """Return the threads that OMP_NUM_THREADS grants; 0, a runtime's own choice, without it."""
    return int(os.environ.get(THREADS_VARIABLE, "0"))
