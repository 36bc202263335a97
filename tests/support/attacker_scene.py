"""What a hostile program is asked, and how it speaks to its parent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopt_optimizer.progress import Log

Reply = dict[str, Any]
FOREVER = 3600.0
NO_ANSWER_OF_MINE: Reply = {"answer": {}}


@dataclass(frozen=True)
class Scene:
    """One request, and what it came with.

    Attributes:
        honest: Returns the worker's own reply.
        asked: How many requests came so far, this one counted.
        options: Of the behaviour.
    """

    request: dict[str, Any]
    folder: Path
    log: Log
    honest: Callable[[], Reply]
    asked: int
    options: dict[str, Any]


Behaviour = Callable[[Scene], Reply]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Add a behaviour under its function's name."""
    BEHAVIOURS[function.__name__.replace("_", "-")] = function
    return function


def channel() -> int:
    """Return the descriptor of the pipe to the parent: the first that serve() opened."""
    return next(n for n in range(3, 64) if Path(f"/proc/self/fd/{n}").exists())


def say(line: bytes) -> None:
    """Write to the parent, whatever it is."""
    while line:
        line = line[os.write(channel(), line) :]


@behaviour
def silent(scene: Scene) -> Reply:
    """Say nothing for ever."""
    time.sleep(FOREVER)
    return NO_ANSWER_OF_MINE
