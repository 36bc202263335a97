"""Starts a program as the image and most people do: without root's capabilities.

    python -P -m attacker_launch [--group FILE] ARGUMENT...

FILE takes the numbers of a control group's processes.
Root's would hide what the kernel lets processes of one user do to each other.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_PR_CAPBSET_DROP = 24


def give_up_capabilities() -> None:
    """Drop all for the next program; without any there is nothing to do."""
    libc = ctypes.CDLL(None)
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--group"]:
        Path(sys.argv[2]).write_text(str(os.getpid()))
        del sys.argv[1:3]
    give_up_capabilities()
    os.execv(sys.executable, [sys.executable, "-P", *sys.argv[1:]])  # noqa: S606
