"""The cluster's own cgroup: created for the kubelet, emptied and removed by `down`."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from .paths import CGROUP


def hierarchies(mounts: str) -> list[Path]:
    """Return the mount points of all cgroup hierarchies in /proc/mounts."""
    found = []
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] in ("cgroup", "cgroup2"):
            found.append(Path(fields[1]))
    return found


def roots() -> list[Path]:
    """Return where our cgroup is, or would be, in each hierarchy."""
    return [place / CGROUP for place in hierarchies(Path("/proc/mounts").read_text())]


def create() -> None:
    """Create our cgroup everywhere; the kubelet refuses a root that is not there."""
    for root in roots():
        controllers = root.parent / "cgroup.controllers"
        if controllers.exists():
            available = controllers.read_text().split()
            # Each by itself: one that cannot be delegated must not keep the others off.
            for name in available:
                with contextlib.suppress(OSError):
                    (root.parent / "cgroup.subtree_control").write_text(f"+{name}")
        root.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            inherited = root.parent / name
            if inherited.exists():
                with contextlib.suppress(OSError):
                    (root / name).write_text(inherited.read_text())


def members() -> set[int]:
    """Return the pids in our cgroup and below, in any hierarchy."""
    return {pid for root in roots() for folder in _tree(root) for pid in _pids(folder)}


def remove(timeout: float = 10.0) -> None:
    """Kill what is in our cgroup and remove it; what resists is reported by the leftovers."""
    deadline = time.monotonic() + timeout
    while pids := members():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for root in roots():
        for folder in reversed(list(_tree(root))):
            for _attempt in range(50):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    # The kernel frees a cgroup a moment after its last process.
                    time.sleep(0.02)
                else:
                    break


def _tree(root: Path) -> Iterator[Path]:
    """Yield a cgroup and all below it, parents first."""
    for folder, _folders, _files in os.walk(root):
        yield Path(folder)


def _pids(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []
