"""Processes of the light cluster that a test started, to be stopped, killed, started again."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from devcluster.processes import Processes, end


class Component:
    """One process of a light cluster, such as etcd.

    Args:
        home: The cluster's folder.
    """

    def __init__(self, home: Path, name: str) -> None:
        self._processes = Processes(home)
        self._name = name
        self._command = Path(f"/proc/{self._pid}/cmdline").read_bytes().decode().split("\0")[:-1]

    @property
    def _pid(self) -> int:
        record = self._processes.record(self._name)
        assert record is not None
        return record.pid

    def halt(self) -> None:
        """Let it stand still; its connections stay open."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        record = self._processes.record(self._name)
        assert record is not None
        end([record], patience=0.0)

    def start(self) -> None:
        """Start it as it was started before, on what it has stored."""
        self._processes.start(self._name, self._command)
