"""Attempts to reach parts of the kernel that no model needs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from attacker import World, attempt, named
from attacker_calls import call, prctl, reached

_NONE = -1
# Arguments that none of these can carry out, whoever calls.
_CALLS: dict[str, tuple[int | bytes, ...]] = {
    "bpf": (_NONE, 0, 0),
    "perf_event_open": (0, 0, _NONE, _NONE, 0),
    "userfaultfd": (0x7FFFFFFF,),
    "keyctl": (0, _NONE, 0),
    "add_key": (b"none", b"none", 0, 0, _NONE),
    "request_key": (b"none", b"none", 0, 0),
    "setns": (_NONE, 0),
    "unshare": (0x10000000,),
    "mount": (0, b"/none", 0, 0, 0),
    "umount2": (b"/none", 0x7FFFFFFF),
    "pivot_root": (b"/none", b"/none"),
    "chroot": (b"/none",),
    "fsopen": (b"none", 0x7FFFFFFF),
    "fsconfig": (_NONE, 0, 0, 0, 0),
    "fsmount": (_NONE, 0x7FFFFFFF, 0),
    "fspick": (_NONE, b"/none", 0x7FFFFFFF),
    "move_mount": (_NONE, b"", _NONE, b"", 0x7FFFFFFF),
    "open_tree": (_NONE, b"/none", 0),
    "open_tree_attr": (_NONE, b"/none", 0, 0, 0),
    "mount_setattr": (_NONE, b"/none", 0x7FFFFFFF, 0, 0),
    "init_module": (0, 0, 0),
    "finit_module": (_NONE, 0, 0),
    "delete_module": (b"none", 0),
    "kexec_load": (0, 0, 0, 0xFFFFFFFF),
    "kexec_file_load": (_NONE, _NONE, 0, 0, 0xFFFFFFFF),
    "reboot": (0, 0, 0, 0),
    "swapon": (b"/none", 0),
    "swapoff": (b"/none",),
    "acct": (b"/none",),
    "syslog": (_NONE, 0, 0),
    "personality": (0xFFFFFFFF,),
    "settimeofday": (1, 0),
    "clock_settime": (_NONE, 0),
    "clock_adjtime": (_NONE, 0),
    "adjtimex": (0,),
    "sethostname": (0, _NONE),
    "setdomainname": (0, _NONE),
    "modify_ldt": (0, 0, 0),
    "iopl": (9,),
    "ioperm": (_NONE, 0, 1),
    "memfd_secret": (0x7FFFFFFF,),
    "seccomp": (_NONE, 0, 0),
    "quotactl_fd": (_NONE, 0, 0, 0),
    "pidfd_send_signal": (_NONE, 0, 0, 0),
    "process_mrelease": (_NONE, 0),
    "io_setup": (0, 0),
    "io_submit": (0, 0, 0),
    "vhangup": (),
}
# It hangs up a terminal of the caller's: tests have none to lose, people do.
_NOT_WITHOUT_WALLS = {"vhangup"}
_CALLS = {name: given for name, given in _CALLS.items() if name not in _NOT_WITHOUT_WALLS}
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_GET_NO_NEW_PRIVS, _PR_CAPBSET_READ = 39, 23
_PR_CAP_AMBIENT, _PR_SET_KEEPCAPS, _PR_SET_SECUREBITS = 47, 8, 28


def _reaching(name: str, given: tuple[int | bytes, ...]) -> Callable[[World], object]:
    return lambda _world: reached(name, *given)


for _name, _given in _CALLS.items():
    named(f"kernel-{_name.replace('_', '-')}", _reaching(_name, _given))


def _terminal(request: int) -> object:
    import fcntl

    try:
        return fcntl.ioctl(0, request, b"x")
    except OSError as error:
        if error.errno in (25, 22, 14):  # No terminal; but it was asked.
            return "reached the kernel"
        raise


@attempt
def type_into_a_terminal(world: World) -> object:
    return _terminal(_TIOCSTI)


@attempt
def paste_into_a_terminal(world: World) -> object:
    return _terminal(_TIOCLINUX)


@attempt
def gain_a_capability(world: World) -> object:
    """Of root's, as a process that was started by root has them."""
    header = ctypes.create_string_buffer(b"\x22\x05\x08\x20\0\0\0\0", 8)
    sets = ctypes.create_string_buffer(24)
    call("capget", header, sets)
    effective = int.from_bytes(sets.raw[:4], "little")
    if not effective:
        raise PermissionError(1, "no capability is left")
    return hex(effective)


@attempt
def regain_privileges_by_programs(world: World) -> object:
    if prctl(_PR_GET_NO_NEW_PRIVS) == 1:
        raise PermissionError(1, "no new privileges")
    return "a setuid program would have its owner's rights"


@attempt
def become_another_user(world: World) -> object:
    call("setresuid", 65533, 65533, 65533)
    return os.getresuid()


@attempt
def drop_the_groups(world: World) -> object:
    os.setgroups([65533])
    return os.getgroups()
