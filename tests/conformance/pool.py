"""Runs cases in processes of their own, each with a time limit: a hang or crash costs one case."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from .steps import Outcome, run
from .suites import load

Key = tuple[str, str]
"""Suite and name."""
Record = dict[str, Any]


def record_of(key: Key, workdir: Path) -> Record:
    """Return a case's record: suite, name, operators, and per step the outcome and its words."""
    case = load(*key)
    result = run(case, workdir)
    return {
        "suite": case.suite,
        "name": case.name,
        "operators": case.operators,
        "steps": {name: [outcome.value, said] for name, (outcome, said) in result.steps.items()},
    }


def _serve(pipe: Connection) -> None:
    """Do what the parent names until it names nothing more."""
    while (key := pipe.recv()) is not None:
        with tempfile.TemporaryDirectory() as folder:
            pipe.send(record_of(key, Path(folder)))


@dataclass
class _Worker:
    process: ForkProcess
    pipe: Connection
    key: Key | None = None
    since: float = 0.0


def _start() -> _Worker:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def results(keys: Iterable[Key], *, jobs: int, limit: float) -> Iterator[Record]:
    """Yield each case's record as it ends.

    The suites are read before the processes start: they share them.

    Args:
        limit: Seconds that a case may take.
    """
    waiting = list(reversed(list(keys)))
    workers = [_start() for _ in range(min(jobs, len(waiting)))]
    try:
        while waiting or any(worker.key for worker in workers):
            for worker in workers:
                if worker.key is None and waiting:
                    worker.key, worker.since = waiting.pop(), time.monotonic()
                    worker.pipe.send(worker.key)
            wait([worker.pipe for worker in workers if worker.key], timeout=1.0)
            for number, worker in enumerate(workers):
                if worker.key is None:
                    continue
                record, ended = _answer(worker, limit)
                if ended:
                    _stop(worker)
                    workers[number] = _start()
                if record is not None:
                    worker.key = None
                    yield record
    finally:
        for worker in workers:
            _stop(worker)


def _answer(worker: _Worker, limit: float) -> tuple[Record | None, bool]:
    """Return what a worker answered, None if it still works, and whether its process is lost."""
    assert worker.key is not None
    suite, name = worker.key
    lost: Record = {"suite": suite, "name": name, "operators": []}
    if worker.pipe.poll():
        with suppress(EOFError):
            return worker.pipe.recv(), False
        worker.process.join(5)
        code = worker.process.exitcode
        said = [Outcome.FAULT.value, f"the process ended with {code}"]
        return lost | {"steps": {"process": said}}, True
    if time.monotonic() - worker.since > limit:
        said = [Outcome.FAULT.value, f"took more than {limit:g} s"]
        return lost | {"steps": {"process": said}}, True
    return None, False


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()
