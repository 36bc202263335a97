"""The wall around the kernel: a seccomp filter, by which a process gives up system calls for good.

A call that is closed fails with EPERM, as for want of a privilege. clone3 fails with ENOSYS: its
flags lie in memory, where no filter sees them, and the C library then takes clone.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyseccomp import SyscallFilter

_SOCKETS = (
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    *("sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg"),
)
_OTHER_PROCESSES = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease"),
    *("kcmp", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "tkill", "rt_sigqueueinfo"),
    *("rt_tgsigqueueinfo", "setpgid", "setsid", "setpriority", "ioprio_set", "migrate_pages"),
    *("move_pages", "setns", "unshare", "sched_setscheduler", "sched_setparam", "sched_setattr"),
)
_SHARED_MEMORY = (
    *("shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)
_KERNEL = (
    *("keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup", "io_submit"),
    *("mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("move_mount", "open_tree", "mount_setattr", "name_to_handle_at", "open_by_handle_at"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("swapon", "swapoff", "quotactl", "quotactl_fd", "acct", "syslog", "personality"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname"),
    *("setdomainname", "iopl", "ioperm", "vhangup", "lookup_dcookie", "nfsservctl"),
    *("modify_ldt", "fanotify_init", "inotify_init", "inotify_init1", "memfd_secret", "seccomp"),
)
# Landlock leaves these to the owner of a file, who is the same for all our processes.
_METADATA = (
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "truncate"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("utime", "utimes", "futimesat", "utimensat", "mknod", "mknodat"),
)
CLOSED = (*_SOCKETS, *_OTHER_PROCESSES, *_SHARED_MEMORY, *_KERNEL, *_METADATA)
"""System calls that no child has."""
# Newer than the oldest libseccomp that is in use; these numbers are the same on every machine.
_NEWER = (
    *(452, 463, 466),  # fchmodat2, setxattrat, removexattrat
    *(467, 469),  # open_tree_attr, file_setattr
)
_FORKS = ("fork", "vfork")
_PROGRAMS = ("execve", "execveat")

_CLONE_THREAD = 0x00010000
# Mount, cgroup, UTS, IPC, user, PID and network: in a namespace of its own it has all capabilities.
_NAMESPACES = (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30)
# The kernel looks at the lower half of these arguments only.
_WORD = 0xFFFFFFFF
_CLOSED_VALUES = (
    # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER
    ("prctl", 0, (1, 4, 36)),
    # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others. F_SETLEASE, F_NOTIFY: others wait, or are
    # watched.
    ("fcntl", 1, (8, 10, 15, 1024, 1026)),
    # TIOCSTI and TIOCLINUX type into a terminal; FIOSETOWN and SIOCSPGRP are as F_SETOWN
    ("ioctl", 1, (0x5412, 0x541C, 0x8901, 0x8902)),
    # FS_IOC_SETFLAGS, its 32-bit form, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION and
    # FS_IOC_ENABLE_VERITY change a file that was opened to be read
    ("ioctl", 1, (0x40086602, 0x40046602, 0x401C5820, 0x40087602, 0x40806685)),
)


def call_filter(*, programs: bool, forks: bool = False) -> SyscallFilter:
    """Return what closes system calls to this process and all it starts, for good, once loaded.

    Args:
        programs: Whether it may start programs, beside threads.
        forks: Whether it may fork; what starts programs does.

    Raises:
        RuntimeError: There is no libseccomp.
    """
    import pyseccomp

    closed = pyseccomp.ERRNO(errno.EPERM)
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    forks = forks or programs
    more = (*(() if forks else _FORKS), *(() if programs else _PROGRAMS))
    for call in (*CLOSED, *_NEWER, *more):
        _close(rules, closed, call)
    _close_by_argument(rules, closed, forks=forks)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    return rules


def _close(rules: SyscallFilter, closed: int, call: str | int) -> None:
    # An OSError names a call that this machine or library does not know.
    with contextlib.suppress(OSError):
        rules.add_rule(closed, call)


def _close_by_argument(rules: SyscallFilter, closed: int, *, forks: bool) -> None:
    from pyseccomp import MASKED_EQ, NE, Arg

    own = os.getpid()
    # It may end itself, no one else: abort() is tgkill.
    rules.add_rule(closed, "kill", Arg(0, NE, own))
    rules.add_rule(closed, "tgkill", Arg(0, NE, own))
    rules.add_rule(closed, "prlimit64", Arg(0, NE, 0), Arg(2, NE, 0))
    rules.add_rule(closed, "sched_setaffinity", Arg(0, NE, 0))
    if not forks:
        rules.add_rule(closed, "clone", Arg(0, MASKED_EQ, _CLONE_THREAD, 0))
    for flag in _NAMESPACES:
        rules.add_rule(closed, "clone", Arg(0, MASKED_EQ, flag, flag))
    for name, position, values in _CLOSED_VALUES:
        for value in values:
            rules.add_rule(closed, name, Arg(position, MASKED_EQ, _WORD, value))
