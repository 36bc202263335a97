"""Time and memory of a process and all it starts, by the steps that it logs."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_SAMPLE_SECONDS = 0.1


@dataclass
class Usage:
    """Of one step: memory is the largest sum over all processes, in bytes.

    Attributes:
        anonymous: What only memory can hold.
        resident: With the pages of mapped files, which the kernel may drop; a page that two
            processes map counts twice.
    """

    seconds: float = 0.0
    anonymous: int = 0
    resident: int = 0


def _tree(pid: int) -> list[int]:
    """Return a process and its descendants; those that end meanwhile are left out."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Return a process's anonymous and resident bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in lines)
    kib = [int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "VmRSS")]
    return kib[0] * 1024, kib[1] * 1024


class Watched:
    """Runs a command to its end; attributes what it takes to the last step that it logged."""

    def __init__(self, command: list[str], environ: dict[str, str], errors: IO[bytes]) -> None:
        self.steps: dict[str, Usage] = {}
        self._step = "start"
        self._ended = threading.Event()
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True
        )

    def run(self) -> int:
        """Return the exit status."""
        sampler = threading.Thread(target=self._sample)
        sampler.start()
        with self._process as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    self._step = json.loads(line)["step"]
                return process.wait()
            finally:
                process.kill()
                self._ended.set()
                sampler.join()

    def _sample(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(_SAMPLE_SECONDS):
            usage = self.steps.setdefault(self._step, Usage())
            memory = [_memory(pid) for pid in _tree(self._process.pid)]
            usage.anonymous = max(usage.anonymous, sum(anonymous for anonymous, _ in memory))
            usage.resident = max(usage.resident, sum(resident for _, resident in memory))
            now = time.monotonic()
            usage.seconds += now - before
            before = now

    def table(self) -> str:
        """Return the steps as Markdown."""
        lines = ["| Step | Seconds | Memory, GB | With mapped files, GB |", "|---|---:|---:|---:|"]
        lines += [
            f"| {name} | {u.seconds:.0f} | {u.anonymous / 1e9:.1f} | {u.resident / 1e9:.1f} |"
            for name, u in self.steps.items()
        ]
        return "\n".join(lines)
