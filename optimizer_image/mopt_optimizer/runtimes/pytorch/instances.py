"""Several instances in PyTorch: copies of this process, which share the weights' memory.

Threads of one process would take turns at Python's lock between any two operators, and compiled
code keeps it while it computes. What has opened the model forks: with one thread, since OpenMP's
threads are not part of a copy, and a copy of a process that had some would wait for them forever.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import NoReturn

import torch

from mopt_optimizer.errors import OptimizerError, RuntimeFailure
from mopt_optimizer.runtimes.base import Opening, Runner
from mopt_optimizer.runtimes.instances import Batches, Compute, computed

from .opening import open_program

_GONE = "an instance of the model ended"


class Copy:
    """A copy of this process that computes; it ends with it."""

    def __init__(self, runner: Runner, batches: Batches, threads: int) -> None:
        reading, self._requests = os.pipe()
        self._answers, writing = os.pipe()
        if os.fork() == 0:
            os.close(self._requests)
            os.close(self._answers)
            _serve(runner, batches, threads, (reading, writing))
        os.close(reading)
        os.close(writing)

    def compute(self, samples: Sequence[int]) -> None:
        """Compute samples as one batch.

        Raises:
            RuntimeFailure: It is refused, or the copy is gone.
        """
        try:
            os.write(self._requests, json.dumps(list(samples)).encode() + b"\n")
        except BrokenPipeError as error:
            raise RuntimeFailure(_GONE) from error
        answer = os.read(self._answers, 4096)
        if not answer:
            raise RuntimeFailure(_GONE)
        if refusal := answer.decode(errors="replace").strip():
            raise RuntimeFailure(refusal)


def _serve(runner: Runner, batches: Batches, threads: int, pipes: tuple[int, int]) -> NoReturn:
    """Compute what is asked for until there is nobody to ask; the copy's whole life."""
    requests, answers = pipes
    try:
        torch.set_num_threads(threads)
        with os.fdopen(requests) as lines:
            for line in lines:
                os.write(answers, _answer(runner, batches, json.loads(line)).encode() + b"\n")
    finally:
        os._exit(0)  # Nothing that the first process set up is to be torn down twice.


def _answer(runner: Runner, batches: Batches, samples: Sequence[int]) -> str:
    try:
        computed(runner, batches, samples)
    except OptimizerError as error:
        return str(error).replace("\n", " ")[:1000]
    return ""


def forked(opening: Opening, count: int, batches: Batches) -> list[Compute]:
    """Return instances, see registry.open_instances."""
    runner = open_program(opening.model_copy(update={"threads": 1}))
    return [Copy(runner, batches, opening.threads).compute for _ in range(count)]
