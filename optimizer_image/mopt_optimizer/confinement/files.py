"""The wall around files: Landlock (Linux 5.13), by which a process gives up rights for good.

It also keeps a process from tracing others: /proc/PID/environ, maps, mem and fd of every process
outside are closed to it, and from Linux 6.12 on so are signals to them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from .walls import Walls

if TYPE_CHECKING:
    from py_landlock import AccessFs

# Not all of /etc: Secrets and CA bundles may be mounted there. alternatives: where g++ points.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/proc", "/sys"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/OpenCL"),
    *("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
)
_DISCARD = "/dev/null"
_GPU_DEVICES = ("/dev/nvidia*", "/dev/nvidia-caps", "/dev/dri")


@dataclass(frozen=True)
class Rule:
    """A file or folder, with all below it, and what may be done there; reading always may."""

    path: str
    write: bool = False
    execute: bool = False
    device: bool = False


def rules(walls: Walls) -> list[Rule]:
    """Return what is left open of the files that are there; of nothing else is anything."""
    return [rule for rule in _wanted(walls) if Path(rule.path).exists()]


def _wanted(walls: Walls) -> Iterator[Rule]:
    for path in {*_SYSTEM, *_python(), *_libraries()}:
        yield Rule(path, execute=walls.programs)
    for path in walls.read:
        yield Rule(path)
    yield Rule(walls.folder, write=True)
    yield Rule(_DISCARD, write=True)
    for pattern in _GPU_DEVICES if walls.gpu else ():
        for path in glob(pattern):
            yield Rule(path, write=True, device=True)


def _python() -> Iterator[str]:
    """Yield where this interpreter finds its libraries; -P: never the folder it is started in."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix)
    yield from filter(None, sys.path)


def _libraries() -> Iterator[str]:
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))


def confine_files(walls: Walls) -> None:
    """Close every file to this process for good, but for the rules'.

    Raises:
        LandlockError: The kernel has no Landlock, or it is switched off.
        OSError
    """
    from py_landlock import Landlock

    landlock = Landlock(strict=False)
    for rule in rules(walls):
        landlock.add_path_rule(rule.path, access=_access(rule))
    landlock.apply()


def _access(rule: Rule) -> AccessFs:
    from py_landlock import AccessFs

    is_folder = Path(rule.path).is_dir()
    access = AccessFs.READ_FILE
    if rule.execute:
        access |= AccessFs.EXECUTE
    if rule.write:
        access |= AccessFs.WRITE_FILE | AccessFs.TRUNCATE
    if rule.device:
        access |= AccessFs.IOCTL_DEV
    if is_folder:
        access |= AccessFs.READ_DIR
    if is_folder and rule.write:
        # No links to elsewhere, pipes, sockets and devices. REFER: renamed between its folders.
        access |= AccessFs.MAKE_REG | AccessFs.MAKE_DIR | AccessFs.REFER
        access |= AccessFs.REMOVE_FILE | AccessFs.REMOVE_DIR
    return access
