"""What a process gives up of its own rights and limits. Linux only; elsewhere nothing happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522
_OPEN_FILES = 4096


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def hide_environment() -> None:
    """Keep this process's memory and /proc/PID/environ from other processes of the same user.

    A child's exec makes the child itself readable again.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of what a child leaves behind, so that it can be ended and waited for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, of that number."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform == "linux" and os.getppid() != parent:
        sys.exit(1)  # It ended before the kernel was told.


def give_up_privileges(file_bytes: int | None) -> None:
    """Give up capabilities, the way to get others, core dumps and more open files than are used.

    Args:
        file_bytes: Largest file that may be written; None leaves it as it is.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if file_bytes is not None:
        _lower(resource.RLIMIT_FSIZE, file_bytes)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)


def _lower(limit: int, most: int) -> None:
    now = resource.getrlimit(limit)[1]
    if now == resource.RLIM_INFINITY or now > most:
        resource.setrlimit(limit, (most, most))


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Capabilities(ctypes.Structure):
    """Two words of each set: effective, permitted, inheritable."""

    _fields_ = [("words", ctypes.c_uint32 * 6)]


def _drop_capabilities() -> None:
    """Give up all: root's too, whose files are closed by other means. See capset(2)."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # A C library without it.
            ctypes.CDLL(None).capset(
                ctypes.byref(_Header(_CAPABILITY_VERSION, 0)), ctypes.byref(_Capabilities())
            )
