"""Puts up a child's walls, in the child, before it reads anything that is not trusted."""

from __future__ import annotations

import json
from collections.abc import Callable

from .files import confine_files
from .privileges import give_up_privileges
from .syscalls import confine_calls
from .walls import SandboxMode, Walls

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
    give_up_privileges()
    missing = [
        why
        for why in (
            _attempt(_LANDLOCK, lambda: confine_files(walls)),
            _attempt(_SECCOMP, lambda: confine_calls(programs=walls.programs)),
        )
        if why
    ]
    if missing and walls.mode is SandboxMode.REQUIRED:
        raise WallMissing("; ".join(missing))
    return missing


def _attempt(wall: str, put_up: Callable[[], None]) -> str:
    """Return why a wall cannot be put up; empty where it stands."""
    try:
        put_up()
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        return f"this machine lacks {wall}: {type(error).__name__}: {error}"
    return ""


def refusal(message: str) -> str:
    """Return the one line by which a child answers that it was not enclosed."""
    report = {"reason": "SandboxUnavailable", "message": message}
    return json.dumps({"error": {"kind": "SandboxUnavailable", "report": report}})
