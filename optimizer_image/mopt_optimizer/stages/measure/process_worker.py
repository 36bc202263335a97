"""The process that one variant runs in: JSON lines in, JSON lines out, arrays as .npy files.

It has no credentials in its environment and sees only its work directory. Started by isolation.py
as `python -m mopt_optimizer.stages.measure.process_worker`; ends when its input does.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from mopt_api.figures import VariantReason

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_api.reasons import Reason
from mopt_optimizer.data.npy import load_array, save_array
from mopt_optimizer.errors import DiskError, ModelError
from mopt_optimizer.machine.device_memory import DeviceMeter
from mopt_optimizer.machine.nvidia import used_memory
from mopt_optimizer.runtimes import (
    BoundCall,
    Feeds,
    OutOfMemory,
    Runner,
    RuntimeFailure,
    open_runner,
)
from mopt_optimizer.timing.interleave import time_calls

_KIB = 1024
_PR_SET_PDEATHSIG = 1
Request = dict[str, Any]


def _load(paths: dict[str, str]) -> Feeds:
    return {name: load_array(Path(path)) for name, path in paths.items()}


def peak_memory_bytes() -> int:
    """Return this process's largest resident set.

    ru_maxrss would start at the parent's size: the kernel carries it over fork and exec.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * _KIB


class VariantServer:
    """Answers the parent's requests about one opened model."""

    def __init__(self, runner: Runner, meter: DeviceMeter | None = None) -> None:
        self._runner = runner
        self._meter = meter
        self._bound: dict[str, BoundCall] = {}

    def evaluate(self, request: Request) -> dict[str, Any]:
        """Compute one sample; {"feeds": {name: file}, "output": prefix} -> {"outputs": [file]}."""
        files: list[str] = []
        for index, array in enumerate(self._runner.run(_load(request["feeds"])).values()):
            files.append(f"{request['output']}-{index}.npy")
            save_array(Path(files[-1]), array)
        return {"outputs": files}

    def bind(self, request: Request) -> dict[str, Any]:
        """Reserve memory for a point; {"point": name, "feeds": {name: file}} -> {}."""
        self._bound[request["point"]] = self._runner.bind(_load(request["feeds"]))
        return {}

    def turn(self, request: Request) -> dict[str, Any]:
        """Time a bound point; {"point", "seconds", "calls"} -> {"times_ns": [...]}."""
        call = self._bound[request["point"]]
        return {"times_ns": time_calls(call, seconds=request["seconds"], calls=request["calls"])}

    def release(self, request: Request) -> dict[str, Any]:
        """Free a bound point's memory; {"point": name} -> {}."""
        del self._bound[request["point"]]
        return {}

    def memory(self, _request: Request) -> dict[str, Any]:
        """Tell the peak of memory so far; {} -> {"peak_bytes": n}.

        The largest resident set; on a GPU the process's part of the device's memory, null where
        the driver does not tell.
        """
        if self._meter is not None:
            return {"peak_bytes": self._meter.peak_bytes}
        return {"peak_bytes": peak_memory_bytes()}

    def compile_time(self, _request: Request) -> dict[str, Any]:
        """Tell how long calls compiled so far; {} -> {"seconds": n}."""
        return {"seconds": self._runner.compile_seconds}


def _open(request: Request) -> Runner:
    provider = request.get("provider")
    return open_runner(
        Runtime(request["runtime"]),
        Precision(request["precision"]),
        Path(request["path"]),
        request["threads"],
        compiled=request["compiled"],
        gpu=request.get("gpu", False),
        provider=provider and ExecutionProvider(provider),
        shapes=request.get("shapes"),
    )


def _answer(handle: Callable[[], dict[str, Any]], channel: TextIO) -> bool:
    """Write the answer, or the failure; return whether it was an answer.

    Any other exception ends this process with a traceback, which the parent reports.
    """
    try:
        answer: dict[str, Any] = {"answer": handle()}
    except OutOfMemory as error:
        answer = {"failure": VariantReason.OUT_OF_MEMORY, "message": str(error)}
    except (RuntimeFailure, ModelError) as error:
        answer = {"failure": VariantReason.BUILD_FAILED, "message": str(error)}
    except DiskError as error:
        answer = {"failure": Reason.OUT_OF_DISK, "message": str(error)}
    except MemoryError as error:
        answer = {"failure": VariantReason.OUT_OF_MEMORY, "message": f"not enough memory: {error}"}
    channel.write(json.dumps(answer) + "\n")
    channel.flush()
    return "answer" in answer


def _counted(
    meter: DeviceMeter | None, work: Callable[[], dict[str, Any]]
) -> Callable[[], dict[str, Any]]:
    """Return the work, what it takes of the device's memory being counted."""
    return work if meter is None else partial(meter.during, work)


def serve(requests: TextIO, channel: TextIO) -> None:
    """Answer requests, the first of which opens the model, until the input ends."""
    opened: list[Runner] = []
    first = json.loads(requests.readline())
    meter = DeviceMeter(used_memory) if first.get("gpu") else None

    def open_first() -> dict[str, Any]:
        opened.append(_open(first))
        engine = opened[0].engine
        return {"pid": os.getpid(), "engine": engine and str(engine)}

    if not _answer(_counted(meter, open_first), channel):
        return
    with opened[0] as runner:
        server = VariantServer(runner, meter)
        operations = {
            "evaluate": server.evaluate,
            "bind": server.bind,
            "turn": server.turn,
            "release": server.release,
            "memory": server.memory,
            "compile_time": server.compile_time,
        }
        for line in requests:
            request = json.loads(line)
            operation = operations[request["op"]]
            _answer(_counted(meter, partial(operation, request)), channel)


def main() -> None:
    """Keep the answers' channel apart from what libraries print; end when the parent does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, channel)


if __name__ == "__main__":
    main()
