"""The process that one variant runs in: it opens a model, then computes and times what it is asked.

It has no credentials, and reaches no more than the model, the inputs and its own folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mopt_api.base import ObservedModel
from mopt_optimizer.data.npy import load_array, save_array
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.machine.accelerators import used_memory
from mopt_optimizer.machine.device_memory import DeviceMeter
from mopt_optimizer.machine.memory import peak_memory_bytes
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes import BoundCall, Feeds, Runner, open_runner
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.sandbox import serve
from mopt_optimizer.timing.interleave import time_calls

from .explaining import explained
from .messages import (
    REQUEST,
    Bind,
    Done,
    Evaluate,
    Evaluated,
    Explain,
    Explained,
    Open,
    Opened,
    Release,
    Request,
    Timed,
    Turn,
    Usage,
    Used,
)


class VariantSession:
    """One opened model, and what its points reserved. Called as a sandbox.Handler."""

    def __init__(self) -> None:
        self._opened: Runner | None = None
        self._opening: Opening | None = None
        self._meter: DeviceMeter | None = None
        self._bound: dict[str, BoundCall] = {}

    def __call__(self, payload: dict[str, Any], workdir: Path, _log: Log) -> dict[str, Any]:
        """Answer a request.

        Raises:
            RuntimeFailure, ModelError: The runtime refuses the model or the inputs.
            DiskError: No space for the outputs.
        """
        request = REQUEST.validate_python(payload)
        if isinstance(request, Open) and request.opening.gpu:
            self._meter = DeviceMeter(used_memory)
        work = partial(self._answer, request, workdir)
        # What it takes of the device's memory is counted.
        return (work() if self._meter is None else self._meter.during(work)).to_api()

    def _answer(self, request: Request, workdir: Path) -> ObservedModel:
        match request:
            case Open():
                self._opening = request.opening
                self._opened = open_runner(request.opening)
                engine = self._opened.engine
                return Opened(engine=None if engine is None else str(engine.relative_to(workdir)))
            case Evaluate():
                return self._evaluate(request, workdir)
            case Bind():
                self._bound[request.point] = self._runner.bind(_load(request.feeds))
                return Done()
            case Turn():
                call = self._bound[request.point]
                return Timed(
                    times_ns=time_calls(call, seconds=request.seconds, calls=request.calls)
                )
            case Release():
                del self._bound[request.point]
                return Done()
            case Usage():
                return self._used()
            case Explain():
                return self._explained(request, workdir)

    @property
    def _runner(self) -> Runner:
        if self._opened is None:
            raise RuntimeFailure("no model is open")
        return self._opened

    def _evaluate(self, request: Evaluate, workdir: Path) -> Evaluated:
        files: list[str] = []
        outputs = self._runner.run(_load(request.feeds))
        for index, array in enumerate(outputs.values()):
            files.append(f"output-{index}.npy")
            save_array(workdir / files[-1], array)
        return Evaluated(outputs=files, names=list(outputs))

    def _explained(self, request: Explain, workdir: Path) -> Explained:
        if self._opening is None:
            raise RuntimeFailure("no model is open")
        return explained(self._runner, self._opening, request, _load(request.feeds), workdir)

    def _used(self) -> Used:
        peak = peak_memory_bytes() if self._meter is None else self._meter.peak_bytes
        return Used(peak_bytes=peak, compile_seconds=self._runner.compile_seconds)


def _load(paths: Mapping[str, str]) -> Feeds:
    return {name: load_array(Path(path)) for name, path in paths.items()}


if __name__ == "__main__":
    sys.exit(serve(VariantSession()))
