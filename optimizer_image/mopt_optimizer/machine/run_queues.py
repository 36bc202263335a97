"""How long threads that could compute waited for a CPU that others had.

From /proc/PID/task/TID/schedstat, in which the kernel counts for each thread the nanoseconds on a
CPU, the nanoseconds ready in a run queue, and its turns. Unlike the pressure in a cgroup's
cpu.pressure it is there on cgroup v1 and where pressure accounting is off, and it is ours alone:
neither the process that measures nor what shares the container is in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NS_PER_SECOND = 1e9


@dataclass(frozen=True)
class Turns:
    """Running totals of threads.

    Attributes:
        ran: Seconds on a CPU.
        waited: Seconds ready for one, without it.
        number: Times that one was given; before each a thread waited, if only to be woken.
    """

    ran: float
    waited: float
    number: int


_Told = tuple[int, int, int]
_NOTHING = (0, 0, 0)


def parse_schedstat(text: str) -> _Told | None:
    """Return the nanoseconds that a thread ran and waited, and its turns.

    None where the kernel does not count.
    """
    fields = text.split()
    if len(fields) != 3 or not all(field.isdecimal() for field in fields):
        return None
    ran, waited, number = (int(field) for field in fields)
    return (ran, waited, number) if ran or waited else None


def parent_of(stat: str) -> int | None:
    """Return the parent in a /proc/PID/stat; the program's name before it may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[1].isdecimal() else None


class RunQueues:
    """The threads of a process's children, also of those that have ended, as last seen."""

    def __init__(self, proc: Path) -> None:
        """Keep nothing open.

        Args:
            proc: /proc outside tests.
        """
        self._proc = proc
        self._seen: dict[tuple[str, str], _Told] = {}
        self._total = _NOTHING

    def read(self, parent: int) -> Turns | None:
        """Return the totals up to now; None where the kernel does not count."""
        if not self._counts():
            return None
        for child in self._children(parent):
            for path in child.glob("task/*/schedstat"):
                if (told := _schedstat(path)) is not None:
                    self._add((child.name, path.parent.name), told)
        ran, waited, number = self._total
        return Turns(ran / _NS_PER_SECOND, waited / _NS_PER_SECOND, number)

    def _add(self, thread: tuple[str, str], told: _Told) -> None:
        before = self._seen.get(thread, _NOTHING)
        # Less than before: another thread got the number of one that has ended.
        if any(now < then for now, then in zip(told, before, strict=True)):
            before = _NOTHING
        ran, waited, number = self._total
        self._total = (
            ran + told[0] - before[0],
            waited + told[1] - before[1],
            number + told[2] - before[2],
        )
        self._seen[thread] = told

    def _counts(self) -> bool:
        """Tell whether the kernel counts: we have run, so ours is not zero then."""
        return _schedstat(self._proc / "self/schedstat") is not None

    def _children(self, parent: int) -> Iterator[Path]:
        for process in self._proc.glob("[0-9]*"):
            with contextlib.suppress(OSError):  # It has just ended.
                if parent_of((process / "stat").read_text(errors="replace")) == parent:
                    yield process


def _schedstat(path: Path) -> _Told | None:
    try:
        return parse_schedstat(path.read_text())
    except OSError:  # Not there in this kernel, or its thread has just ended.
        return None
