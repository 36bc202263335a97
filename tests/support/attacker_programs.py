"""Attempts by programs of its own, where a model process may start some: PyTorch's compiler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from attacker import World, attempt, named
from attacker_calls import call, prctl

# Of clone(2), each with what it would need.
_NAMESPACES = {
    "user": 0x10000000,
    "mount": 0x10020000,
    "pid": 0x30000000,
    "net": 0x50000000,
    "ipc": 0x18000000,
    "uts": 0x14000000,
    "cgroup": 0x12000000,
}
_SECONDS = 20


def _ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        raise PermissionError(1, done.stderr.strip()[-100:] or f"ended with {done.returncode}")
    return done.stdout[:100] or "it ran"


def _in_python(program: str) -> str:
    return _ran(sys.executable, "-P", "-c", program)


def _namespace(flags: int) -> Callable[[World], object]:
    def cloned(_world: World) -> object:
        if (child := call("clone", flags | int(signal.SIGCHLD), 0, 0, 0, 0)) == 0:
            os._exit(0)
        return os.waitpid(child, 0)

    return cloned


for _name, _flags in _NAMESPACES.items():
    named(f"program-in-its-own-{_name}-namespace", _namespace(_flags))


@attempt
def program_reads_a_secret(world: World) -> object:
    return _ran("cat", str(world.outside / "secrets/token"))


@attempt
def program_reads_environ_of_parent(world: World) -> object:
    return _ran("cat", f"/proc/{world.target}/environ")


@attempt
def program_writes_outside(world: World) -> object:
    return _ran("cp", "/etc/passwd", str(world.victim("program-writes-outside")))


@attempt
def program_plants_a_symlink(world: World) -> object:
    return _ran("ln", "-s", "/etc/passwd", str(world.folder / "program-link"))


@attempt
def program_makes_a_pipe(world: World) -> object:
    return _ran("mkfifo", str(world.folder / "program-pipe"))


@attempt
def program_opens_a_socket(world: World) -> object:
    return _in_python("import socket; socket.socket()")


@attempt
def program_signals_parent(world: World) -> object:
    return _in_python(f"import os; os.kill({world.target}, {int(signal.SIGURG)})")


@attempt
def program_leaves_the_session(world: World) -> object:
    return _in_python("import os; os.setsid()")


@attempt
def program_leaves_the_group(world: World) -> object:
    return _in_python("import os; os.setpgid(0, 0)")


@attempt
def program_traces_parent(world: World) -> object:
    program = (
        "import ctypes; libc = ctypes.CDLL(None)\n"
        f"raise SystemExit(libc.ptrace(0x4206, {world.target}, 0, 0) and 1)"
    )
    return _in_python(program)


@attempt
def program_in_the_own_folder(world: World) -> object:
    """What it wrote itself cannot be started, though interpreters run it."""
    script = world.folder / "script"
    os.close(os.open(script, os.O_CREAT | os.O_WRONLY, 0o755))
    script.write_text("#!/bin/sh\necho ran\n")
    return _ran(str(script))


@attempt
def program_of_another_owner(world: World) -> object:
    """A setuid program: su without arguments asks for a password, as root it does not."""
    if prctl(39) == 1:
        raise PermissionError(1, "no new privileges")
    return [path for path in ("/bin/su", "/usr/bin/passwd") if Path(path).exists()]


@attempt
def grandchild_leaves_the_session(world: World) -> object:
    """Forked twice, it leads no group: for it setsid could succeed."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        if os.fork() == 0:
            try:
                os.setsid()
                os.write(writing, b"left")
            except OSError as error:
                os.write(writing, str(error.errno).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    told = os.read(reading, 16)
    if told != b"left":
        raise OSError(int(told or b"1"), os.strerror(int(told or b"1")))
    return "left"
