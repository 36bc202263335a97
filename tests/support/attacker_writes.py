"""Attempts to change what lies outside of the own folder, or to plant links in it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Callable

from attacker import World, attempt, named
from attacker_calls import call, reached

_TARGETS = {
    "termination-message": "termination",
    "result": "result.json",
    "blob-of-another-model": "store/blobs/sha256/" + "0" * 64,
    "index-entry": "store/index/fp32",
    "token": "secrets/token",
    "file-of-a-sibling": "sibling/model.onnx",
}
_NEW = {
    "blob": "store/blobs/sha256/" + "1" * 64,
    "index-entry": "store/index/attacker",
    "module-of-the-next-process": "sibling/numpy.py",
}
_SYSTEM = {
    "core-pattern": "/proc/sys/kernel/core_pattern",
    "own-memory": "/proc/self/mem",
    "own-oom-score": "/proc/self/oom_score_adj",
    "processes-of-a-cgroup": "/sys/fs/cgroup/memory/cgroup.procs",
    "user-map": "/proc/self/uid_map",
    "interpreter": os.path.realpath("/usr/bin/env"),
    "standard-library": os.__file__,
}
_AT = -100  # AT_FDCWD
_AT_SYMLINK_FOLLOW = 0x400
_FS_IOC_SETFLAGS, _FS_NODUMP = 0x40086602, 0x40
_FS_IOC_FSSETXATTR, _FS_IOC_ENABLE_VERITY = 0x401C5820, 0x40806685
_FLAGS = (os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR, os.O_WRONLY | os.O_TRUNC)


def _opening(path: Callable[[World], str], flags: int) -> Callable[[World], object]:
    def opened(world: World) -> object:
        os.close(os.open(path(world), flags, 0o644))
        return "opened"

    return opened


def _of(name: str) -> Callable[[World], str]:
    return lambda world: str(world.outside / name)


for _name, _path in _TARGETS.items():
    named(f"write-{_name}", _opening(_of(_path), os.O_WRONLY))
for _name, _path in _NEW.items():
    named(f"make-{_name}", _opening(_of(_path), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
for _name, _path in _SYSTEM.items():
    named(f"write-{_name}", _opening(lambda _world, path=_path: path, os.O_WRONLY))  # type: ignore[misc]
for _flag in _FLAGS:
    named(
        f"open-with-{_flag:o}",
        _opening(lambda world, flag=_flag: str(world.victim(f"open-with-{flag:o}")), _flag),  # type: ignore[misc]
    )
named("open-the-readable-file-to-write", _opening(lambda world: str(world.readable), os.O_WRONLY))


@attempt
def make_an_unnamed_file_outside(world: World) -> object:
    return os.open(world.outside, os.O_TMPFILE | os.O_WRONLY)


@attempt
def truncate(world: World) -> object:
    os.truncate(world.victim("truncate"), 0)
    return "truncated"


@attempt
def remove(world: World) -> object:
    world.victim("remove").unlink()
    return "removed"


@attempt
def rename_away(world: World) -> object:
    return world.victim("rename-away").rename(world.folder / "taken")


@attempt
def rename_over(world: World) -> object:
    own = world.folder / "own"
    own.write_text("planted")
    return own.rename(world.victim("rename-over"))


@attempt
def exchange(world: World) -> object:
    own = world.folder / "own"
    own.write_text("planted")
    target = os.fsencode(world.victim("exchange"))
    return call("renameat2", _AT, os.fsencode(own), _AT, target, 2)


@attempt
def make_a_folder_outside(world: World) -> None:
    (world.outside / "made").mkdir()


@attempt
def remove_a_folder_outside(world: World) -> None:
    (world.outside / "empty").rmdir()


@attempt
def link_in(world: World) -> None:
    os.link(world.victim("link-in"), world.folder / "linked-in")


@attempt
def link_in_the_readable_file(world: World) -> None:
    os.link(world.readable, world.folder / "linked-readable")


@attempt
def link_an_opened_file(world: World) -> object:
    with world.readable.open("rb") as file:
        opened = f"/proc/self/fd/{file.fileno()}".encode()
        target = os.fsencode(world.folder / "linked-opened")
        return call("linkat", _AT, opened, _AT, target, _AT_SYMLINK_FOLLOW)


@attempt
def link_out(world: World) -> None:
    own = world.folder / "own"
    own.write_text("planted")
    os.link(own, world.outside / "linked-out")


@attempt
def plant_a_symlink_to_a_file(world: World) -> None:
    (world.folder / "symlink").symlink_to(world.outside / "secrets/token")


@attempt
def plant_a_symlink_to_a_folder(world: World) -> None:
    (world.folder / "symlinks").symlink_to(world.outside)


@attempt
def plant_a_symlink_to_own_environment_of_parent(world: World) -> None:
    (world.folder / "model.onnx").symlink_to("/proc/self/environ")


@attempt
def plant_a_symlink_outside(world: World) -> None:
    (world.outside / "symlink").symlink_to("/etc/passwd")


@attempt
def plant_a_pipe(world: World) -> None:
    os.mkfifo(world.folder / "pipe")


@attempt
def plant_a_socket(world: World) -> object:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(world.folder / "socket"))
    return "bound"


@attempt
def plant_a_socket_node(world: World) -> None:
    os.mknod(world.folder / "socket-node", stat.S_IFSOCK | 0o600)


@attempt
def plant_a_device(world: World) -> None:
    os.mknod(world.folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))


@attempt
def plant_a_block_device(world: World) -> None:
    os.mknod(world.folder / "disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))


@attempt
def make_a_node_outside(world: World) -> None:
    os.mknod(world.outside / "node", stat.S_IFREG | 0o600)


@attempt
def mode_of_a_closed_file(world: World) -> None:
    world.victim("mode-of-a-closed-file").chmod(0o777)


@attempt
def mode_of_the_readable_file(world: World) -> None:
    with world.readable.open("rb") as file:
        os.fchmod(file.fileno(), 0o777)


@attempt
def mode_by_the_newest_call(world: World) -> object:
    name = os.fsencode(world.victim("mode-by-the-newest-call"))
    return call("fchmodat2", _AT, name, 0o777, 0)


@attempt
def owner(world: World) -> None:
    os.chown(world.victim("owner"), os.getuid(), os.getgid())


@attempt
def times(world: World) -> None:
    os.utime(world.victim("times"), (0, 0))


@attempt
def times_of_the_readable_file(world: World) -> None:
    with world.readable.open("rb") as file:
        os.utime(file.fileno(), (0, 0))


@attempt
def attribute(world: World) -> None:
    os.setxattr(world.victim("attribute"), "user.attacker", b"x")


@attempt
def attribute_of_the_readable_file(world: World) -> None:
    with world.readable.open("rb") as file:
        os.setxattr(file.fileno(), "user.attacker", b"x")


@attempt
def attribute_removed(world: World) -> object:
    """None is there: ENODATA says that it was looked for."""
    return reached("removexattr", os.fsencode(world.victim("attribute-removed")), b"user.none")


@attempt
def attribute_by_the_newest_call(world: World) -> object:
    name = os.fsencode(world.victim("attribute-by-the-newest-call"))
    return reached("removexattrat", _AT, name, 0, b"user.none")


@attempt
def file_attributes_by_the_newest_call(world: World) -> object:
    """file_setattr of Linux 6.17 takes a path, which need not be opened."""
    flags = struct.pack("QIIII", _FS_NODUMP, 0, 0, 0, 0)
    name = os.fsencode(world.victim("file-attributes-by-the-newest-call"))
    return call("file_setattr", _AT, name, flags, len(flags), 0)


def _reached_file_system(world: World, request: int, argument: bytes) -> object:
    """Ask for something of the readable file that not each file system has.

    What lacks it answers ENOTSUP, ENOTTY or EINVAL; walls answer EPERM, before it is asked.
    """
    with world.readable.open("rb") as file:
        try:
            return fcntl.ioctl(file.fileno(), request, argument)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENOTTY, errno.EINVAL):
                return "reached the file system"
            raise


@attempt
def file_flags_of_the_readable_file(world: World) -> object:
    return _reached_file_system(world, _FS_IOC_SETFLAGS, struct.pack("l", _FS_NODUMP))


@attempt
def extended_flags_of_the_readable_file(world: World) -> object:
    flags = struct.pack("IIIII8x", _FS_NODUMP << 1, 0, 0, 0, 0)
    return _reached_file_system(world, _FS_IOC_FSSETXATTR, flags)


@attempt
def seal_the_readable_file(world: World) -> object:
    """fs-verity makes a file read-only for good."""
    argument = struct.pack("IIIIQIIQ", 1, 1, 4096, 0, 0, 0, 0, 0).ljust(128, b"\0")
    return _reached_file_system(world, _FS_IOC_ENABLE_VERITY, argument)


@attempt
def lease_of_the_readable_file(world: World) -> object:
    """Whoever opens a leased file waits for up to 45 seconds."""
    with world.readable.open("rb") as file:
        return fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_WRLCK)


def _unopened(name: str, *arguments: int | bytes) -> Callable[[World], object]:
    return lambda _world: reached(name, *arguments)


named("quota", _unopened("quotactl", 0, b"/none", 0, ctypes.create_string_buffer(64).raw))
