"""Attempts to read what is closed, and to learn of it by other ways."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from attacker import NothingGotError, World, attempt, named
from attacker_calls import call

_SECRETS = {
    "token": "secrets/token",
    "termination-message": "termination",
    "result": "result.json",
    "blob-of-another-model": "store/blobs/sha256/" + "0" * 64,
    "index-entry": "store/index/fp32",
    "file-of-a-sibling": "sibling/model.onnx",
}
_SYSTEM = {
    "shadow": "/etc/shadow",
    "hosts": "/etc/hosts",
    "resolver": "/etc/resolv.conf",
    "certificates": "/etc/ssl/certs/ca-certificates.crt",
    "kernel-log": "/dev/kmsg",
    "kernel-messages": "/proc/kmsg",
}
_DEVICES = (
    *("mem", "port", "vda", "sda", "tty0", "console", "fuse", "net/tun", "kvm", "vsock"),
    *("userfaultfd", "loop-control", "ptmx", "uinput", "hpet", "rtc0"),
)
_FOLDERS = {
    "root": "/",
    "home": "/root",
    "temporary-files": "/tmp",  # noqa: S108
    "run": "/run",
    "etc": "/etc",
    "devices": "/dev",
    "var": "/var",
}


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        found = file.read(256)
    if not found:
        raise NothingGotError(str(path))
    return found


def _outside(name: str) -> Callable[[World], object]:
    return lambda world: _bytes(world.outside / name)


def _at(path: str) -> Callable[[World], object]:
    return lambda _world: _bytes(Path(path))


def _listing(path: str) -> Callable[[World], object]:
    return lambda _world: sorted(os.listdir(path))[:4]


for _name, _path in _SECRETS.items():
    named(f"read-{_name}", _outside(_path))
for _name, _path in _SYSTEM.items():
    named(f"read-{_name}", _at(_path))
for _name, _path in _FOLDERS.items():
    named(f"list-{_name}", _listing(_path))


@attempt
def list_secrets(world: World) -> object:
    return os.listdir(world.outside / "secrets")


@attempt
def list_own_home(world: World) -> object:
    """Not HOME, which is the own folder: that of the user in /etc/passwd."""
    import pwd

    return os.listdir(pwd.getpwuid(os.getuid()).pw_dir)


@attempt
def list_the_parent_of_the_own_folder(world: World) -> object:
    return os.listdir(world.folder.parent)


@attempt
def list_what_lies_beside_the_readable_file(world: World) -> object:
    return os.listdir(world.readable.parent)


@attempt
def read_what_lies_beside_the_readable_file(world: World) -> object:
    return _bytes(world.readable.parent / ".credentials")


@attempt
def open_devices(world: World) -> object:
    refusals: list[OSError] = []
    for name in _DEVICES:
        try:
            return name, os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        except OSError as error:
            refusals.append(error)
    raise refusals[0]


@attempt
def read_by_a_way_around(world: World) -> object:
    up = os.sep.join([".."] * (len(world.folder.parts) - 1))
    return _bytes(Path(f"{up}{world.outside}/secrets/token"))


@attempt
def read_from_another_working_folder(world: World) -> object:
    before = Path.cwd()
    os.chdir(world.outside / "secrets")
    try:
        return _bytes(Path("token"))
    finally:
        os.chdir(before)


@attempt
def read_below_an_opened_path(world: World) -> object:
    folder = os.open(world.outside / "secrets", os.O_PATH | os.O_DIRECTORY)
    return os.read(os.open("token", os.O_RDONLY, dir_fd=folder), 64)


@attempt
def reopen_an_opened_path(world: World) -> object:
    path = os.open(world.outside / "secrets/token", os.O_PATH)
    return _bytes(Path(f"/proc/self/fd/{path}"))


@attempt
def read_by_handle(world: World) -> object:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 120, 0), 128)
    mount = ctypes.create_string_buffer(4)
    name = os.fsencode(world.outside / "secrets/token")
    call("name_to_handle_at", -100, name, handle, mount, 0)
    at = os.open("/usr", os.O_RDONLY)
    return os.read(call("open_by_handle_at", at, handle, os.O_RDONLY), 64)


@attempt
def map_a_closed_file(world: World) -> object:
    import mmap

    with (world.outside / "secrets/token").open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:16]


@attempt
def execute_a_closed_file(world: World) -> object:
    """A loader says why it does not take a file; that it read it is enough."""
    try:
        ctypes.CDLL(str(world.outside / "secrets/token"))
    except OSError as error:
        if "invalid ELF" in str(error) or "file too short" in str(error):
            return str(error)
        raise PermissionError(13, str(error)) from error
    return "loaded"


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@attempt
def watch_a_closed_folder(world: World) -> object:
    """inotify tells of the names that others make there."""
    libc = _library()
    queue = libc.inotify_init1(os.O_NONBLOCK)
    watch = -1
    if queue >= 0:
        watch = libc.inotify_add_watch(queue, os.fsencode(world.outside / "secrets"), 0xFFF)
    if watch < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return watch


@attempt
def watch_everything(world: World) -> object:
    return call("fanotify_init", 0x200, os.O_RDONLY)
