"""How much a child may take, beside memory: what a look at its folder and processes shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_api.sandbox import SCRATCH_VARIABLE

_GIB = 2**30
_PROC = Path("/proc")


@dataclass(frozen=True)
class Limits:
    """Bounds of a child; honest work stays far below.

    Attributes:
        disk_bytes: Of all files in its folder.
        files: Files and folders in its folder.
        processes: Of its group, itself one of them.
    """

    disk_bytes: int
    files: int = 100_000
    processes: int = 256

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
            if taken > self.disk_bytes:
                return f"wrote more than {self.disk_bytes} bytes"
            if count > self.files:
                return f"made more than {self.files} files"
        if sum(1 for _ in _members(group)) > self.processes:
            return f"started more than {self.processes} processes"
        return ""


def _sizes(path: Path) -> Iterator[int]:
    """Yield the disk space of a file, or of all below a folder; links are not followed."""
    if not path.is_dir():
        yield path.stat().st_size if path.exists() else 0
        return
    waiting = [path]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # Removed meanwhile.
            continue
        for entry in entries:
            try:
                yield entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
            except OSError:
                continue


def _members(group: int) -> Iterator[int]:
    for process in _PROC.glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                yield int(process.name)
        except OSError:  # Ended meanwhile.
            continue
