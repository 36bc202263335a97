"""Attempts on what other processes know: environment, memory, descriptors, files."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from attacker import NothingGotError, World, attempt, named, others
from attacker_calls import call, reached

_READ_BYTES = 4096
# Files of /proc/PID that are for the process itself, and for who may trace it.
_PRIVATE = (
    *("environ", "auxv", "maps", "smaps", "smaps_rollup", "numa_maps", "io", "syscall", "stack"),
    *("personality", "timerslack_ns", "pagemap"),
)
_WRITABLE = (
    *("mem", "comm", "oom_score_adj", "clear_refs", "coredump_filter", "timerslack_ns"),
    *("uid_map", "setgroups", "attr/current", "sched", "loginuid"),
)
_LINKS = ("cwd", "root", "exe", "fd/0", "fd/1", "fd/2", "ns/mnt", "ns/pid", "ns/user")
_FOLDERS = ("fdinfo", "map_files", "cwd/", "root/")
_PTRACE_ATTACH, _PTRACE_SEIZE, _PTRACE_DETACH = 16, 0x4206, 17


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        found = file.read(_READ_BYTES)
    if not found:
        raise NothingGotError(str(path))
    return found


def _reader(name: str) -> Callable[[World], object]:
    return lambda world: _read(Path(f"/proc/{world.target}/{name}"))


def _opener(name: str) -> Callable[[World], object]:
    def opened(world: World) -> object:
        descriptor = os.open(f"/proc/{world.target}/{name}", os.O_WRONLY)
        os.close(descriptor)
        return "opened for writing"

    return opened


def _linked(name: str) -> Callable[[World], object]:
    return lambda world: os.readlink(f"/proc/{world.target}/{name}")


def _listed(name: str) -> Callable[[World], object]:
    return lambda world: os.listdir(f"/proc/{world.target}/{name}")


def _label(name: str) -> str:
    return name.rstrip("/").replace("/", "-").replace("_", "-")


for _name in _PRIVATE:
    named(f"read-{_label(_name)}-of-parent", _reader(_name))
for _name in _WRITABLE:
    named(f"open-{_label(_name)}-of-parent-to-write", _opener(_name))
for _name in _LINKS:
    named(f"follow-{_label(_name)}-of-parent", _linked(_name))
for _name in _FOLDERS:
    named(f"list-{_label(_name)}-of-parent", _listed(_name))


@attempt
def read_environ_of_a_thread_of_parent(world: World) -> object:
    return _read(Path(f"/proc/{world.target}/task/{world.target}/environ"))


@attempt
def read_memory_of_parent(world: World) -> object:
    with Path(f"/proc/{world.target}/maps").open() as maps:
        start = int(maps.readline().partition("-")[0], 16)
    with Path(f"/proc/{world.target}/mem").open("rb", buffering=0) as memory:
        memory.seek(start)
        return memory.read(64)


@attempt
def open_memory_of_parent(world: World) -> object:
    # Where its memory lies is often guessed.
    with Path(f"/proc/{world.target}/mem").open("rb", buffering=0):
        return "opened"


@attempt
def open_descriptors_of_parent(world: World) -> object:
    opened = []
    for number in range(16):
        try:
            os.close(os.open(f"/proc/{world.target}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK))
        except FileNotFoundError:
            continue
        opened.append(number)
    return opened


@attempt
def read_secret_through_root_of_parent(world: World) -> object:
    return _read(Path(f"/proc/{world.target}/root{world.outside}/secrets/token"))


@attempt
def read_secret_through_own_root(world: World) -> object:
    return _read(Path(f"/proc/self/root{world.outside}/secrets/token"))


def _of_any_other(name: str) -> Callable[[World], object]:
    def read(_world: World) -> object:
        refusals: list[OSError] = []
        for pid in others():
            try:
                return pid, _read(Path(f"/proc/{pid}/{name}"))[:64]
            except (NothingGotError, FileNotFoundError, ProcessLookupError):
                continue
            except OSError as error:
                refusals.append(error)
        assert len(refusals) > 1
        raise refusals[0]

    return read


for _name in ("environ", "maps", "auxv"):
    named(f"read-{_name}-of-any-process", _of_any_other(_name))


@attempt
def follow_descriptors_of_any_process(world: World) -> object:
    refusals: list[OSError] = []
    for pid in others():
        try:
            return pid, os.readlink(f"/proc/{pid}/fd/0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError as error:
            refusals.append(error)
    raise refusals[0]


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def _transfer(name: str, world: World) -> int:
    # No memory lies there: EFAULT says that it was looked for in the other process.
    local = ctypes.create_string_buffer(8)
    here = _Vector(ctypes.addressof(local), 8)
    there = _Vector(0x10000, 8)
    try:
        return call(name, world.target, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)
    except OSError as error:
        if error.errno in (14, 3):
            return 0
        raise


@attempt
def process_vm_readv_of_parent(world: World) -> object:
    return _transfer("process_vm_readv", world)


@attempt
def process_vm_writev_of_parent(world: World) -> object:
    return _transfer("process_vm_writev", world)


@attempt
def ptrace_attach_to_parent(world: World) -> object:
    call("ptrace", _PTRACE_ATTACH, world.target, 0, 0)
    os.waitpid(world.target, 0x40000000)
    return call("ptrace", _PTRACE_DETACH, world.target, 0, 0)


@attempt
def ptrace_seize_parent(world: World) -> object:
    return call("ptrace", _PTRACE_SEIZE, world.target, 0, 0)


@attempt
def kcmp_with_parent(world: World) -> object:
    return call("kcmp", os.getpid(), world.target, 0, 0, 0)


@attempt
def pidfd_of_parent(world: World) -> object:
    return os.pidfd_open(world.target)


@attempt
def pidfd_getfd_of_parent(world: World) -> object:
    return call("pidfd_getfd", os.pidfd_open(world.target), 0, 0)


@attempt
def process_madvise_parent(world: World) -> object:
    return reached("process_madvise", os.pidfd_open(world.target), 0, 0, 4, 0)


@attempt
def move_pages_of_parent(world: World) -> object:
    return call("move_pages", world.target, 0, 0, 0, 0, 0)


@attempt
def migrate_pages_of_parent(world: World) -> object:
    node = ctypes.c_ulong(1)
    address = ctypes.addressof(node)
    return call("migrate_pages", world.target, 64, address, address)
