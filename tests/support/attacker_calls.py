"""System calls that Python has no function for, by their names."""

from __future__ import annotations

import ctypes
import errno
import os

import pyseccomp

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
# Newer than some libseccomp; the same on every machine.
_NEWER = {
    "mseal": 462,
    "setxattrat": 463,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_setattr": 469,
    "fchmodat2": 452,
}
_CLOSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def number_of(name: str) -> int:
    """Return the number of a system call on this machine."""
    if name in _NEWER:
        return _NEWER[name]
    number = int(pyseccomp.resolve_syscall(pyseccomp.system_arch(), name))
    if number < 0:
        raise OSError(errno.ENOSYS, f"{name} is not known on this machine")
    return number


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Make a system call; return what it returns.

    Raises:
        OSError: It fails.
    """
    words = [a if isinstance(a, bytes | ctypes.Array) else ctypes.c_long(a) for a in arguments]
    result = int(_LIBC.syscall(ctypes.c_long(number_of(name)), *words))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def reached(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> str:
    """Return how the kernel answers a call with arguments that it cannot carry out: that it looked
    at them is enough.

    Raises:
        OSError: The call is closed.
    """
    try:
        return f"returned {call(name, *arguments)}"
    except OSError as error:
        if error.errno in _CLOSED:
            raise
        return f"reached the kernel: {errno.errorcode[error.errno or 0]}"


def prctl(option: int, *values: int) -> int:
    """Return what prctl(2) returns; raises OSError."""
    return call("prctl", option, *(*values, 0, 0, 0, 0)[:4])
