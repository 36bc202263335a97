"""Puts up a child's walls, in the child, before it reads anything that is not trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mopt_api.sandbox import SandboxMode

from .files import confine_files
from .privileges import give_up_privileges
from .syscalls import call_filter
from .walls import Walls

if TYPE_CHECKING:
    from pyseccomp import SyscallFilter

_LANDLOCK = "Landlock (Linux 5.13 or newer, landlock in /sys/kernel/security/lsm)"
_SECCOMP = "seccomp (the kernel's, and the library libseccomp2)"


class WallMissing(Exception):
    """A wall that this machine lacks; the message says which, and what it needs."""


def confine(walls: Walls) -> list[str]:
    """Enclose this process for good; return what is missing, where the mode allows that.

    Call it while there is one thread: the others start enclosed.

    Raises:
        WallMissing: A wall cannot be put up, and the mode is Required.
    """
    missing: list[str] = []
    calls: SyscallFilter | None = None
    give_up_privileges(walls.file_bytes)
    with _wall(_SECCOMP, missing):
        # Its library is looked for by a program: before files are closed.
        calls = call_filter(programs=walls.programs, forks=walls.forks)
    with _wall(_LANDLOCK, missing):
        confine_files(walls)
    if calls is not None:
        with _wall(_SECCOMP, missing):
            calls.load()
    if missing and walls.mode is SandboxMode.REQUIRED:
        raise WallMissing("; ".join(missing))
    return missing


@contextmanager
def _wall(wall: str, missing: list[str]) -> Iterator[None]:
    """Note why a wall cannot be put up; each library has errors of its own for that."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        missing.append(f"this machine lacks {wall}: {type(error).__name__}: {error}")


def refusal(message: str) -> str:
    """Return the one line by which a child answers that it was not enclosed."""
    report = {"reason": "SandboxUnavailable", "message": message}
    return json.dumps({"error": {"kind": "SandboxUnavailable", "report": report}})
