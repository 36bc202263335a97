"""A hostile program, in the place of a model that has taken over the process that opens it.

Its attempts are plain functions, each alone: one that gets through returns what it got, one that is
refused raises. attacker_extension runs them where a model is opened, behind whatever walls stand;
tests run them without walls too, to see that they are real.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PLAN_FILE = "attacker-plan.json"
MARK = "ATTEMPT "
"""Begins a line of standard error that tells of an attempt."""

ORIGINAL = "original"
"""What each file outside holds before an attempt, and after it."""


@dataclass(frozen=True)
class World:
    """What the program knows of its surroundings: everything but the secrets.

    Attributes:
        target: Number of the process that it attacks: its parent.
        outside: Folder of files that are closed to it: a token, another model's blob, ...
        readable: A file that it may read.
        folder: Its own.
    """

    target: int
    outside: Path
    readable: Path
    folder: Path

    def victim(self, name: str) -> Path:
        """Return a closed file that only one attempt is after."""
        return self.outside / "victims" / name


Attempt = Callable[[World], object]
ATTEMPTS: dict[str, Attempt] = {}
"""By name; modules attacker_* add theirs when they are imported."""


class NothingGotError(Exception):
    """An attempt came to an end without anything in its hands."""


def attempt(function: Attempt) -> Attempt:
    """Add an attempt under its function's name."""
    return named(function.__name__.replace("_", "-"), function)


def named(name: str, function: Attempt) -> Attempt:
    """Add an attempt under a name."""
    assert name not in ATTEMPTS, name
    ATTEMPTS[name] = function
    return function


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        refused: How it was refused; None where it got through.
        got: What it got, shortened.
        place: Module of the process that tried.
    """

    name: str
    refused: str | None = None
    got: str = ""
    place: str = ""

    def line(self) -> str:
        """Return it as a line of standard error."""
        return MARK + json.dumps(asdict(self))


def tried(name: str, world: World) -> Outcome:
    """Run one attempt."""
    try:
        got = ATTEMPTS[name](world)
    except OSError as error:
        return Outcome(name, refused=errno.errorcode.get(error.errno or 0, str(error)))
    except BaseException as error:  # noqa: BLE001 - any end of it is an outcome
        return Outcome(name, refused=f"{type(error).__name__}: {error}"[:200])
    return Outcome(name, got=repr(got)[:200])


def outcomes_in(text: str, place: str = "") -> dict[str, Outcome]:
    """Return the outcomes told in a standard error, by their names: of one place, or of all.

    Where one was tried again and again, a time that it got through counts.
    """
    lines = (line.partition(MARK) for line in text.splitlines())
    told = [Outcome(**json.loads(line)) for _, mark, line in lines if mark]
    found: dict[str, Outcome] = {}
    for outcome in (outcome for outcome in told if place in ("", outcome.place)):
        if outcome.refused is None or outcome.name not in found:
            found[outcome.name] = outcome
    return found


@dataclass(frozen=True)
class Plan:
    """What the program is to do, and where; a file on the path of its modules.

    Attributes:
        place: Module of the worker whose process it takes over; of several, by commas.
        outside: See World.
        readable: See World.
        attempts: Names, in order.
        behaviour: What it does in place of an honest answer; empty is an honest answer.
        options: Of the behaviour.
        folder_prefix: Begins the name of the folder of the process; tells variants apart.
    """

    place: str
    outside: str
    readable: str
    attempts: list[str] = field(default_factory=list)
    behaviour: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    folder_prefix: str = ""

    def write(self, folder: Path) -> None:
        """Put it where a process with that folder on its path finds it."""
        (folder / PLAN_FILE).write_text(json.dumps(asdict(self)))


def plan() -> Plan | None:
    """Return the plan of this process; None where there is none."""
    for folder in sys.path:
        file = Path(folder) / PLAN_FILE
        if folder and file.is_file():
            return Plan(**json.loads(file.read_text()))
    return None


def others() -> Iterator[int]:
    """Yield the numbers of all processes but this one."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)
