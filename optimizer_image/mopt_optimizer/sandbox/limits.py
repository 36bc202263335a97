"""How much a child may take, beside memory: what a look at its folder and processes shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_api.sandbox import SCRATCH_VARIABLE

_GIB = 2**30
_BLOCK = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_FOLDERS = 256
_PROC = Path("/proc")


@dataclass(frozen=True)
class Limits:
    """Bounds of a child; honest work stays far below.

    Attributes:
        disk_bytes: Of all files in its folder.
        files: Files and folders in its folder.
        processes: Of its group, itself one of them.
        threads: Of all of these together.
    """

    disk_bytes: int
    files: int = 100_000
    processes: int = 256
    threads: int = 2048

    @classmethod
    def of(cls, read: Iterable[Path], environ: Mapping[str, str]) -> Limits:
        """Return the bounds for a child that reads these: copies and forms of them take space.

        In a Job, less than the scratch volume, by which the kubelet would evict the Pod.
        """
        given = sum(size for path in read for size in _sizes(path))
        most = 16 * given + 8 * _GIB
        if volume := environ.get(SCRATCH_VARIABLE):
            most = min(most, int(volume) * 9 // 10)
        return cls(disk_bytes=most)

    def exceeded(self, folder: Path, group: int) -> str:
        """Return which bound a child is beyond; empty where none.

        Args:
            folder: Its own.
            group: Number of its process group.
        """
        taken = 0
        for count, size in enumerate(_sizes(folder)):
            taken += size
            if count > self.files:
                return f"made more than {self.files} files"
        members = list(_members(group))
        taken += sum(size for member in members for size in _removed(member))
        if taken > self.disk_bytes:
            return f"wrote more than {self.disk_bytes} bytes"
        if len(members) > self.processes:
            return f"started more than {self.processes} processes"
        if sum(map(_threads, members)) > self.threads:
            return f"started more than {self.threads} threads"
        return ""


def _sizes(path: Path) -> Iterator[int]:
    """Yield the disk space of a file, or of all below a folder; links are not followed.

    By descriptors, one level at a time: paths may be longer than the kernel takes.
    """
    if not path.is_dir():
        yield path.stat().st_size if path.exists() else 0
        return
    waiting = [os.open(path, _FOLDER)]
    try:
        while waiting:
            folder = waiting.pop()
            try:
                yield from _in_folder(folder, waiting)
            finally:
                os.close(folder)
    finally:
        for folder in waiting:
            os.close(folder)


def _in_folder(folder: int, waiting: list[int]) -> Iterator[int]:
    """Yield the sizes of what is in a folder; open the folders in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                # Each of these takes one of our descriptors: a broad tree is too many files.
                if entry.is_dir(follow_symlinks=False) and len(waiting) < _MOST_FOLDERS:
                    waiting.append(os.open(entry.name, _FOLDER, dir_fd=folder))
            except OSError:  # Removed meanwhile.
                continue


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
