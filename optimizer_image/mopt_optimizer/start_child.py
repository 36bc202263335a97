"""The first code of a child: has the kernel end it with its parent, then runs its module.

    python -P -m mopt_optimizer.start_child PARENT_PID MODULE ARGUMENT...

It imports nothing that takes time: a parent that is killed while a child still loads its libraries
leaves nobody behind either.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run a module as the main one, its arguments after its name."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)  # It ended before the kernel was told.
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
