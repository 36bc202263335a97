"""The process that a model is served in: it opens instances, and LoadGen asks them.

It has no credentials, and reaches no more than the model, the samples and its own folder. LoadGen
is in it, since no other process could reach it: requests pass no socket and are not copied.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mopt_api.base import ObservedModel
from mopt_optimizer.data.npy import load_array
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.base import Feeds
from mopt_optimizer.runtimes.instances import Compute
from mopt_optimizer.runtimes.registry import open_instances
from mopt_optimizer.sandbox import serve

from . import loadgen
from .batching import Queue
from .messages import LOAD_REQUEST, InstancesOpened, LoadRequest, OpenInstances, RunTest, Tested


class Library:
    """The samples, in memory, and batches of them."""

    def __init__(self, samples: Sequence[Mapping[str, str]], batched: Mapping[str, int]) -> None:
        self._samples = [{name: load_array(Path(p)) for name, p in s.items()} for s in samples]
        self._batched = batched

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, numbers: Sequence[int]) -> Feeds:
        """Return samples as the inputs of one call."""
        taken = [self._samples[n % len(self._samples)] for n in numbers]
        if len(taken) == 1:
            return taken[0]
        return {
            name: np.concatenate([sample[name] for sample in taken], axis=self._batched[name])
            if name in self._batched
            else array
            for name, array in taken[0].items()
        }


class LoadSession:
    """Instances of one model. Called as a sandbox.Handler."""

    def __init__(self) -> None:
        self._instances: list[Compute] = []
        self._sizes: list[int] = [1]
        self._samples = 0

    def __call__(self, payload: dict[str, Any], workdir: Path, _log: Log) -> dict[str, Any]:
        """Answer a request.

        Raises:
            RuntimeFailure, ModelError: The runtime refuses the model or the inputs.
        """
        return self._answer(LOAD_REQUEST.validate_python(payload), workdir).to_api()

    def _answer(self, request: LoadRequest, workdir: Path) -> ObservedModel:
        match request:
            case OpenInstances():
                return self._open(request)
            case RunTest():
                return self._test(request, workdir)

    def _open(self, request: OpenInstances) -> InstancesOpened:
        library = Library(request.samples, request.batched)
        self._samples, self._sizes = len(library), request.sizes
        self._instances = open_instances(request.opening, request.instances, library.batch)
        return InstancesOpened(rate=self._warmed())

    def _warmed(self) -> float:
        """Have each instance compute each size twice; return samples a second of one.

        One after the other, but for the last time: what is compiled is compiled once.
        """
        for compute in self._instances:
            for size in self._sizes:
                compute(range(size))
        largest = self._sizes[-1]

        def timed(compute: Compute) -> float:
            started = time.perf_counter()
            compute(range(largest))
            return time.perf_counter() - started

        with ThreadPoolExecutor(len(self._instances)) as pool:
            taken = list(pool.map(timed, self._instances))
        return largest / max(*taken, 1e-7)

    def _test(self, request: RunTest, workdir: Path) -> Tested:
        if not self._instances:
            raise RuntimeFailure("no model is open")
        with Queue(self._instances, self._sizes, loadgen.answer) as queue:
            outcome = loadgen.run(queue.put, self._samples, request.rules, workdir)
        if queue.failure is not None:
            raise queue.failure
        return Tested(outcome=outcome)


if __name__ == "__main__":
    sys.exit(serve(LoadSession()))
