"""Ends a light cluster when the process that wanted it is gone."""

import contextlib
import os
import select
from pathlib import Path

from . import light
from .errors import NotRunningError
from .processes import read_stat


def watch(folder: Path, parent_pid: int, start_ticks: int) -> None:
    """Wait for the end of a process, then end the cluster.

    Args:
        start_ticks: The start time that tells the process from a later one with its pid.
    """
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(parent_pid)
        stat = read_stat(parent_pid)
        if stat is not None and stat.start_ticks == start_ticks:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            poller.poll()
        os.close(handle)
    # Somebody may have taken it down already.
    with contextlib.suppress(NotRunningError):
        light.down(folder)
