"""Each variant in a process of its own, so that a crash, a hang or its memory stays its own.

The process gets no credentials; requests and answers are JSON lines, arrays .npy files.

On cgroup v2 the kernel kills the whole container when it is out of memory, not one process. So
while a variant works its parent watches the container's memory, and ends the variant before that.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mopt_api.figures import VariantReason

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_api.reasons import Reason
from mopt_optimizer.errors import DiskError
from mopt_optimizer.runtimes.tensorrt.profiles import ShapeRange
from mopt_optimizer.sandbox import WATCH_SECONDS, child_environ

_READ_BYTES = 65536
_STOP_SECONDS = 5.0
_LOG_TAIL_BYTES = 4096
MAX_MESSAGE = 1024
_MEMORY_END = 0.92


class VariantFailure(Exception):
    """A variant ended without a result; the others go on.

    Attributes:
        reason: What the result says.
    """

    def __init__(self, reason: VariantReason, message: str) -> None:
        super().__init__(message[:MAX_MESSAGE])
        self.reason = reason


@dataclass(frozen=True)
class Timeouts:
    """Longest waits for an answer, in seconds; beyond, the process is taken for hung.

    Attributes:
        open: Importing the runtime, reading and compiling the model.
        build: Opening where TensorRT builds an engine: it measures many kernels for each layer.
        call: One evaluation, or binding a point; a turn gets its own length on top. Where PyTorch
            compiles in them, or ONNX Runtime has TensorRT build, they get as long as opening.
    """

    open: float = 600.0
    build: float = 3600.0
    call: float = 300.0


@dataclass(frozen=True)
class Opening:
    """What a variant's process opens.

    Attributes:
        name: The variant's name.
        path: The model file.
        threads: For the runtime.
        compiled: PyTorch compiles it at its first calls.
        gpu: It computes on the GPU.
        provider: Of ONNX Runtime; None is what suits gpu.
        shapes: Of TensorRT: the smallest, most frequent and largest of each input.
    """

    name: str
    runtime: Runtime
    precision: Precision
    path: Path
    threads: int
    compiled: bool = False
    gpu: bool = False
    provider: ExecutionProvider | None = None
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)

    @property
    def builds(self) -> bool:
        """Whether TensorRT builds an engine."""
        return Runtime.TENSORRT in (self.runtime, self.provider)


# Without these glibc gives the memory of large tensors back to the kernel after each call, or does
# not, by the chance of what lies above them: eager PyTorch then takes between once and twice as
# long, from one slice to the next, for faulting pages in. These are the largest values that glibc
# comes to by itself. Runtimes with an arena of their own do not notice.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(sys.maxsize),
}
"""Environment of a process whose calls take the same time: freed memory stays with it."""


def _variables(threads: int, cache: Path) -> dict[str, str]:
    """Return the variables that libraries read while being imported, before they are told.

    Args:
        cache: For what Inductor compiles: a cache of the variant's own, so that no process runs
            what another one left there.
    """
    names = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TORCHINDUCTOR_COMPILE_THREADS",
    )
    return (
        dict.fromkeys(names, str(threads))
        | {"OMP_WAIT_POLICY": "PASSIVE", "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        | KEPT_MEMORY
    )


def exit_failure(returncode: int, log_tail: str) -> VariantFailure:
    """Return what a process's unexpected end means.

    Args:
        returncode: As subprocess has it: minus the signal's number, or the exit status.
        log_tail: The end of its standard error.
    """
    lines = [line for line in log_tail.splitlines() if line.strip()]
    last = f": {lines[-1].strip()}" if lines else ""
    if returncode == -signal.SIGKILL:
        # We did not kill it here; a kernel short of memory does.
        return VariantFailure(
            VariantReason.OUT_OF_MEMORY, "killed (SIGKILL), most likely for want of memory"
        )
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return VariantFailure(VariantReason.CRASHED, f"ended by {name}{last}")
    return VariantFailure(VariantReason.CRASHED, f"exited with status {returncode}{last}")


def memory_failure(share: float | None) -> VariantFailure | None:
    """Return why a variant is ended before the kernel ends the container; None while it need not.

    Args:
        share: Of the container's memory limit that is in use; None where it is not known.
    """
    if share is None or share <= _MEMORY_END:
        return None
    return VariantFailure(
        VariantReason.OUT_OF_MEMORY,
        f"ended at {share:.0%} of the container's memory limit, before the kernel "
        "would end the container",
    )


class VariantProcess:
    """A running variant. A context manager: the process is gone on exit, whatever happened.

    Attributes:
        engine: What was built when it was opened, to be served in place of the file; None where
            nothing was.
    """

    def __init__(
        self,
        opening: Opening,
        *,
        workdir: Path,
        environ: Mapping[str, str],
        memory_share: Callable[[], float | None] = lambda: None,
        timeouts: Timeouts = Timeouts(),
        argv: tuple[str, ...] = (
            sys.executable,
            "-m",
            "mopt_optimizer.stages.measure.process_worker",
        ),
    ) -> None:
        """Start the process and open the model in it.

        Args:
            workdir: Exists; the process's current directory and place for its log.
            memory_share: Used part of the container's memory, 0 to 1; None where it has no limit.
            argv: The program; another one only in tests.

        Raises:
            VariantFailure: It could not be opened.
        """
        self.name = opening.name
        self._timeouts = timeouts
        first = timeouts.build if opening.builds else timeouts.open
        longest = first if opening.compiled or opening.provider else 0
        self._call_timeout = max(timeouts.call, longest)
        self._memory_share = memory_share
        self._buffer = b""
        self._log = workdir / f"{opening.name}.log"
        self._cache = workdir / f"{opening.name}-compiled"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=workdir,
                start_new_session=True,
                env=child_environ(environ) | _variables(opening.threads, self._cache),
            )
        try:
            answer = self._ask(
                {
                    "runtime": opening.runtime,
                    "precision": opening.precision,
                    "path": str(opening.path),
                    "threads": opening.threads,
                    "compiled": opening.compiled,
                    "gpu": opening.gpu,
                    "provider": opening.provider,
                    "shapes": dict(opening.shapes),
                },
                first,
            )
            self.engine = Path(answer["engine"]) if answer.get("engine") else None
        except BaseException:
            self.close()
            raise

    def evaluate(self, feeds: Mapping[str, Path], output: Path) -> list[Path]:
        """Return the files that hold one sample's outputs, named after `output`."""
        answer = self._ask(
            {
                "op": "evaluate",
                "feeds": {name: str(path) for name, path in feeds.items()},
                "output": str(output),
            },
            self._call_timeout,
        )
        return [Path(file) for file in answer["outputs"]]

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None:
        """Load a point's inputs, and reserve memory for its outputs."""
        files = {name: str(path) for name, path in feeds.items()}
        self._ask({"op": "bind", "point": point, "feeds": files}, self._call_timeout)

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        """Return the nanoseconds of each counted call at a bound point."""
        request = {"op": "turn", "point": point, "seconds": seconds, "calls": calls}
        times: list[int] = self._ask(request, seconds + self._timeouts.call)["times_ns"]
        return times

    def release(self, point: str) -> None:
        """Free what bind reserved."""
        self._ask({"op": "release", "point": point}, self._timeouts.call)

    def peak_memory_bytes(self) -> int | None:
        """Return the process's largest resident set so far; on a GPU its part of the GPU's memory,
        None where the driver does not tell."""
        peak: int | None = self._ask({"op": "memory"}, self._timeouts.call)["peak_bytes"]
        return peak

    def compile_seconds(self) -> float:
        """Return the time that calls so far spent on compiling."""
        seconds: float = self._ask({"op": "compile_time"}, self._timeouts.call)["seconds"]
        return seconds

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            VariantFailure: The runtime refused (BuildFailed), memory ran out, the process ended
                (Crashed, OutOfMemory), or no answer came in time (TimedOut). The process is then
                of no more use, except after a refusal.
            DiskError: The scratch volume is full: no fault of the variant.
        """
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        reply = json.loads(self._read_line(timeout))
        if reply.get("failure") == Reason.OUT_OF_DISK:
            raise DiskError(reply["message"])
        if "failure" in reply:
            raise VariantFailure(VariantReason(reply["failure"]), reply["message"])
        answer: dict[str, Any] = reply["answer"]
        return answer

    def _read_line(self, timeout: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                self._process.kill()
                raise VariantFailure(VariantReason.TIMED_OUT, f"no answer within {timeout:g} s")
            share = self._memory_share()
            if (full := memory_failure(share)) is not None:
                self._process.kill()
                raise full
            pause = left if share is None else min(left, WATCH_SECONDS)
            if not select.select([descriptor], [], [], pause)[0]:
                continue
            received = os.read(descriptor, _READ_BYTES)
            if not received:
                raise self._ended()
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> VariantFailure:
        try:
            returncode = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return VariantFailure(VariantReason.CRASHED, "closed its output without ending")
        return exit_failure(returncode, self._log_tail())

    def _log_tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process and all it started; it holds nothing that would be lost."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._cache, ignore_errors=True)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # requests that were never read
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
