"""What still gets through, each with its cure. An entry that is mended makes its test fail."""

from __future__ import annotations

import pytest

_SCHEDULE = (
    "the kernel lets processes of one user set each other's schedule: close sched_setscheduler, "
    "sched_setparam and sched_setattr, and sched_setaffinity where the number is not 0"
)
_FLAGS = (
    "flags of a file need no right to write it: close the ioctls FS_IOC_SETFLAGS, "
    "FS_IOC_FSSETXATTR and FS_IOC_ENABLE_VERITY, and file_setattr (469)"
)
_NAMESPACE = "a user namespace gives all capabilities within: close clone with CLONE_NEW* flags"

ATTEMPTS = {
    "set-affinity-of-parent": _SCHEDULE,
    "set-scheduler-of-parent": _SCHEDULE,
    "set-scheduling-parameter-of-parent": _SCHEDULE,
    "set-scheduling-attributes-of-parent": _SCHEDULE,
    "watch-a-closed-folder": "Landlock does not look at inotify: close inotify_init and _init1",
    "file-attributes-by-the-newest-call": _FLAGS,
    "file-flags-of-the-readable-file": _FLAGS,
    "extended-flags-of-the-readable-file": _FLAGS,
    "seal-the-readable-file": _FLAGS,
    "lease-of-the-readable-file": "whoever opens it waits for 45 s: close fcntl with F_SETLEASE",
    **{
        f"program-in-its-own-{name}-namespace": _NAMESPACE
        for name in ("user", "mount", "pid", "net", "ipc", "uts", "cgroup")
    },
}
"""By their names."""

PLACES = {
    ("describe", "list-what-lies-beside-the-readable-file"): "the whole folder of an .onnx is read",
    ("describe", "read-what-lies-beside-the-readable-file"): "the whole folder of an .onnx is read",
}
"""Of one place alone."""


def through(why: str) -> pytest.MarkDecorator:
    """Return the mark of what gets through still."""
    return pytest.mark.xfail(strict=True, reason=why)


def marks(place: str, name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of an attempt in a place."""
    why = ATTEMPTS.get(name) or PLACES.get((place, name))
    return [through(why)] if why else []
