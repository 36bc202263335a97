"""Attempts to start a program or a process, where none may be."""

from __future__ import annotations

import os
import signal
import sys

from attacker import World, attempt
from attacker_calls import call, reached

_NONE = "/none"


@attempt
def fork(world: World) -> object:
    if (child := os.fork()) == 0:
        os._exit(0)
    return os.waitpid(child, 0)


@attempt
def fork_by_its_own_call(world: World) -> object:
    if (child := call("fork")) == 0:
        os._exit(0)
    return os.waitpid(child, 0)


@attempt
def fork_by_clone(world: World) -> object:
    if (child := call("clone", int(signal.SIGCHLD), 0, 0, 0, 0)) == 0:
        os._exit(0)
    return os.waitpid(child, 0)


@attempt
def fork_by_clone3(world: World) -> object:
    """No arguments: EINVAL says that they were looked at."""
    return reached("clone3", 0, 0)


@attempt
def execute(world: World) -> object:
    return reached("execve", _NONE.encode(), 0, 0)


@attempt
def execute_an_opened_file(world: World) -> object:
    return reached("execveat", -1, _NONE.encode(), 0, 0, 0)


@attempt
def spawn(world: World) -> object:
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], dict(os.environ))
    return os.waitpid(child, 0)


@attempt
def shell(world: World) -> object:
    if status := os.system("true"):  # noqa: S605
        raise PermissionError(1, f"ended with {status}")
    return "a shell ran"
