"""How much a child may take, beside memory: what a look at its folder and processes shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_api.sandbox import SCRATCH_VARIABLE
from mopt_api.text import one_line

_GIB = 2**30
_BLOCK = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Folders in each other: each takes one of our descriptors.
_DEEPEST = 64
_PROC = Path("/proc")


class HiddenError(Exception):
    """A child's folder holds what nobody can look at."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a child; honest work stays far below.

    Attributes:
        disk_bytes: Of all files in its folder.
        files: Files and folders in its folder.
        processes: Of its group, itself one of them.
        threads: Of all of these together.
        free_bytes: What was free on the volume at the start.
    """

    disk_bytes: int
    files: int = 100_000
    processes: int = 256
    threads: int = 2048
    free_bytes: int = 0

    @classmethod
    def of(cls, read: Iterable[Path], folder: Path, environ: Mapping[str, str]) -> Limits:
        """Return the bounds for a child that reads these: copies and forms of them take space.

        In a Job, less than the scratch volume, by which the kubelet would evict the Pod.

        Args:
            folder: The child's own.
        """
        given = sum(size for path in read for size in _sizes(path))
        most = 16 * given + 8 * _GIB
        if volume := environ.get(SCRATCH_VARIABLE):
            most = min(most, int(volume) * 9 // 10)
        return cls(disk_bytes=most, free_bytes=free_bytes(folder))

    def exceeded(self, folder: Path, group: int) -> str:
        """Return which bound a child is beyond; empty where none.

        Args:
            folder: Its own.
            group: Number of its process group.
        """
        taken = 0
        try:
            for count, size in enumerate(_sizes(folder)):
                taken += size
                if count > self.files:
                    return f"made more than {self.files} files"
        except HiddenError as error:
            return str(error)
        members = list(_members(group))
        taken += sum(size for member in members for size in _removed(member))
        if any(_maps_removed(member, folder) for member in members):
            # Of these nobody can see the size. Others write to the volume, too; that they fill it
            # in the very moments in which an honest child has such a file, nobody will see.
            taken = max(taken, self.free_bytes - free_bytes(folder))
        if taken > self.disk_bytes:
            return f"wrote more than {self.disk_bytes} bytes"
        if len(members) > self.processes:
            return f"started more than {self.processes} processes"
        if sum(map(_threads, members)) > self.threads:
            return f"started more than {self.threads} threads"
        return ""


def free_bytes(folder: Path) -> int:
    """Return what is free on the volume that a folder lies on."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _sizes(path: Path) -> Iterator[int]:
    """Yield the disk space of a file, or of all below a folder; links are not followed.

    Raises:
        HiddenError: What takes space cannot be seen.
    """
    if not path.is_dir():
        yield path.stat().st_size if path.exists() else 0
        return
    # By descriptors, one for each level: paths may be longer than the kernel takes.
    yield from _below(os.open(path, _FOLDER), 0)


def _below(folder: int, depth: int) -> Iterator[int]:
    """Yield the sizes of what lies below an open folder, and close it."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        yield from _below(_opened(entry.name, folder, depth), depth + 1)
                except (FileNotFoundError, NotADirectoryError):  # Removed or replaced meanwhile.
                    continue
                except PermissionError as error:
                    raise HiddenError(
                        f"made a folder that cannot be listed: {one_line(entry.name, 64)}"
                    ) from error
    finally:
        os.close(folder)


def _opened(name: str, folder: int, depth: int) -> int:
    if depth >= _DEEPEST:
        raise HiddenError(f"made folders in more than {_DEEPEST} others")
    return os.open(name, _FOLDER, dir_fd=folder)


def _maps_removed(process: int, folder: Path) -> bool:
    """Return whether a process has mapped a removed file of a folder."""
    try:
        maps = (_PROC / str(process) / "maps").read_bytes()
    except OSError:  # Ended meanwhile.
        return False
    start = b" " + os.fsencode(folder) + b"/"
    return any(start in line and line.endswith(b" (deleted)") for line in maps.splitlines())


def _removed(process: int) -> Iterator[int]:
    """Yield the disk space of removed files that a process has open."""
    for number in _listed(_PROC / str(process) / "fd"):
        try:
            found = (_PROC / str(process) / "fd" / number).stat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
            yield found.st_blocks * _BLOCK


def _threads(process: int) -> int:
    return len(_listed(_PROC / str(process) / "task"))


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # Ended meanwhile.
        return []


def _members(group: int) -> Iterator[int]:
    for process in _PROC.glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                yield int(process.name)
        except OSError:  # Ended meanwhile.
            continue
