"""A cgroup of our own with a CPU limit, as the kubelet makes one.

cgroup v2, or v1's cpu controller where that has it. Needs root.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mopt_optimizer.machine.cpu_stat import CpuStat

PERIOD_US = 100_000
"""Of the kubelet, which has no option for it per container."""
_EMPTY_SECONDS = 5.0


class NoLimits(Exception):
    """No cgroup can be made here; says what is missing."""


@dataclass(frozen=True)
class Hierarchy:
    """Where the cpu controller is.

    Attributes:
        own: Path in it of the process's cgroup, "/" at its top.
    """

    mount: Path
    own: str
    is_v2: bool


def hierarchy_of(mounts: str, cgroups: str) -> Hierarchy | None:
    """Return where the cpu controller may be: of v1 where that has it, else v2. Pure.

    Args:
        mounts: /proc/mounts.
        cgroups: /proc/self/cgroup.
    """
    paths = {
        name: path
        for line in cgroups.splitlines()
        for _, names, path in [line.split(":", 2)]
        for name in names.split(",")
    }
    found = None
    for line in mounts.splitlines():
        _, mount, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Hierarchy(Path(mount), paths.get("cpu", "/"), is_v2=False)
        if kind == "cgroup2":
            found = Hierarchy(Path(mount), paths.get("", "/"), is_v2=True)
    return found


class CpuLimit:
    """A cgroup. A context manager: on exit it is removed, and must be empty."""

    def __init__(self, name: str) -> None:
        """Make it below our own cgroup, or the nearest above that hands the controller on.

        Raises:
            NoLimits
        """
        found = hierarchy_of(
            Path("/proc/mounts").read_text(), Path("/proc/self/cgroup").read_text()
        )
        if found is None:
            raise NoLimits("no cgroup file system is mounted: mount cgroup2 at /sys/fs/cgroup")
        self._is_v2 = found.is_v2
        own = found.mount / found.own.lstrip("/")
        # In a container of v1 the mount shows its cgroup at the top, whatever /proc calls it.
        self._home = own if own.is_dir() else found.mount
        try:
            self._folder = self._parent(found.mount) / f"mopt-{name}-{os.getpid()}"
            self._folder.mkdir()
        except OSError as error:
            raise NoLimits(
                f"no cgroup can be made below {self._home}: {error.strerror}; this needs root, and "
                "a cgroup file system that is not read-only"
            ) from error

    def _parent(self, top: Path) -> Path:
        if not self._is_v2:
            return self._home
        above = [self._home, *(p for p in self._home.parents if p.is_relative_to(top))]
        for folder in above:
            if "cpu" in (folder / "cgroup.subtree_control").read_text().split():
                return folder
        # Refused where processes are in it, but for the top of all.
        (top / "cgroup.subtree_control").write_text("+cpu")
        return top

    def set(self, cpus: float | None, burst: float = 0.0) -> None:
        """Set the limit; None is none.

        Args:
            burst: CPUs that may be saved up from one period for the next, as many again at most.
        """
        if self._is_v2:
            self._write("cpu.max.burst", "0")
            quota = "max" if cpus is None else str(round(cpus * PERIOD_US))
            self._write("cpu.max", f"{quota} {PERIOD_US}")
            self._write("cpu.max.burst", str(round(burst * PERIOD_US)))
            return
        self._write("cpu.cfs_burst_us", "0")
        self._write("cpu.cfs_period_us", str(PERIOD_US))
        self._write("cpu.cfs_quota_us", "-1" if cpus is None else str(round(cpus * PERIOD_US)))
        self._write("cpu.cfs_burst_us", str(round(burst * PERIOD_US)))

    def take(self, pid: int) -> None:
        """Move a process into it, with all its threads."""
        self._write("cgroup.procs", str(pid))

    def stat(self) -> CpuStat:
        """Return its counters now."""
        return CpuStat.parse((self._folder / "cpu.stat").read_text())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it, with every process that is started meanwhile."""
        self.take(os.getpid())
        try:
            yield
        finally:
            (self._home / "cgroup.procs").write_text(str(os.getpid()))

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The kernel frees it a moment after its last process.
        deadline = time.monotonic() + _EMPTY_SECONDS
        while True:
            try:
                self._folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
