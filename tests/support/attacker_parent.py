"""A parent as mopt's are, in a process of its own: what a child does to it shows from outside.

    python -P -m attacker_parent OPTIONS

Prints how it ended as JSON. Its environment holds keys, as a Job's does.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.machine.memory import peak_memory_bytes
from mopt_optimizer.sandbox import Child, ChildDied

WORKER = "attacker_worker"


@dataclass(frozen=True)
class Options:
    """What the parent does.

    Attributes:
        workdir: The child's folder.
        read: What the child may read.
        requests: How often it asks, and with how many bytes.
        timeout: Of each answer, in seconds; None waits forever.
        patience: Between two lines of one step, in seconds; None is without end.
        tail: Whether it reads the last words of a child that has ended, as measure does.
    """

    workdir: str
    read: list[str] = field(default_factory=list)
    programs: bool = False
    requests: int = 1
    request_bytes: int = 10
    timeout: float | None = 20.0
    patience: float | None = None
    tail: bool = False


@dataclass
class Told:
    """How it went.

    Attributes:
        kind: Class of the error that ended it; empty where all was answered.
        message: The error's.
        answers: How many came.
        peak_bytes: Largest resident set of the parent.
        log: Lines of progress that it got, and the characters in them.
    """

    kind: str = ""
    message: str = ""
    answers: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    log_lines: int = 0
    log_characters: int = 0
    longest_line: int = 0
    tail: str = ""
    last_log: dict[str, Any] = field(default_factory=dict)


def run(options: Options) -> Told:
    """Ask a child; return how it went, whatever that was."""
    told = Told()

    def log(step: str, message: str, **fields: object) -> None:
        characters = len(json.dumps([step, message, fields], default=str))
        told.log_lines += 1
        told.log_characters += characters
        told.longest_line = max(told.longest_line, characters)
        told.last_log = {"step": step, "message": message[:1000], "fields": str(fields)[:1000]}

    patience = None if options.patience is None else lambda _step: options.patience or 0.0
    started = time.monotonic()
    with Child(
        WORKER,
        Path(options.workdir),
        read=[Path(path) for path in options.read],
        programs=options.programs,
        log=log,
        patience=patience,
    ) as child:
        try:
            for _ in range(options.requests):
                child.ask({"text": "x" * options.request_bytes}, options.timeout)
                told.answers += 1
        except (OptimizerError, ChildDied) as error:
            told.kind, told.message = type(error).__name__, str(error)
            if options.tail:
                told.tail = child.stderr_tail()
    told.seconds = time.monotonic() - started
    told.peak_bytes = peak_memory_bytes()
    return told


if __name__ == "__main__":
    signal.signal(signal.SIGURG, signal.SIG_IGN)
    print(json.dumps(asdict(run(Options(**json.loads(sys.argv[1]))))))
