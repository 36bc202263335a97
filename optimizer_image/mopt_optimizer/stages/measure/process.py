"""Each variant in its own process, so that a crash, a hang or its memory affects no other.

On cgroup v2 the kernel kills the whole container when it is out of memory, not one process. So
while a variant works its parent watches the container's memory, and ends the variant before that.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mopt_api.base import ObservedModel
from mopt_api.figures import VariantReason
from mopt_optimizer.errors import DiskError, OptimizerError, OutOfMemory, VariantFailure
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import builds, variables
from mopt_optimizer.sandbox import Child, ChildDied

from .messages import (
    Bind,
    Done,
    Evaluate,
    Evaluated,
    Open,
    Opened,
    Release,
    Timed,
    Turn,
    Usage,
    Used,
)

_WORKER = "mopt_optimizer.stages.measure.process_worker"
_LOG_TAIL_BYTES = 4096
_MEMORY_END = 0.92


@dataclass(frozen=True)
class Timeouts:
    """Longest waits for an answer, in seconds; after that the process counts as hung.

    Attributes:
        open: Importing the runtime, reading and compiling the model.
        build: Opening where TensorRT builds an engine: it measures many kernels for each layer.
        call: One evaluation, or binding a point; a turn gets its own length on top. Where PyTorch
            compiles in them, or ONNX Runtime has TensorRT build, they get as long as opening.
    """

    open: float = 600.0
    build: float = 3600.0
    call: float = 300.0


# Without these glibc gives the memory of large tensors back to the kernel after each call, or does
# not, by the chance of what lies above them: eager PyTorch then takes between once and twice as
# long, from one slice to the next, for faulting pages in. These are the largest values that glibc
# comes to by itself. Runtimes with an arena of their own do not notice.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(sys.maxsize),
}
"""Environment of a process with stable call times: freed memory stays with it."""


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
    """Return why a variant must end before the kernel kills the container; None while it need not.

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


AnswerT = TypeVar("AnswerT", bound=ObservedModel)


class VariantProcess:
    """A running variant. A context manager: the process is gone on exit, whatever happened.

    Every method raises VariantFailure where the runtime refuses (BuildFailed), memory runs out, the
    process ends (Crashed, OutOfMemory) or does not answer in time (TimedOut); the process is then
    of no more use, except after a refusal. DiskError is no fault of the variant.

    Attributes:
        name: The variant's.
        engine: What was built when it was opened, to be served in place of the file; None where
            nothing was.
    """

    def __init__(
        self,
        name: str,
        opening: Opening,
        *,
        workdir: Path,
        environ: Mapping[str, str],
        memory_share: Callable[[], float | None] | None = None,
        timeouts: Timeouts = Timeouts(),
        argv: tuple[str, ...] | None = None,
    ) -> None:
        """Start the process and open the model in it.

        Args:
            workdir: Exists; the process's current directory and place for its log.
            memory_share: Used part of the container's memory, 0 to 1; None where it has no limit.
            argv: The program; another one only in tests.
        """
        self.name = name
        self._timeouts = timeouts
        first = timeouts.build if builds(opening) else timeouts.open
        longest = first if opening.compiled or opening.provider else 0
        self._call_timeout = max(timeouts.call, longest)
        self._log = workdir / f"{name}.log"
        self._cache = workdir / f"{name}-compiled"
        with self._log.open("wb") as log:
            self._child = Child(
                _WORKER,
                workdir,
                environ=environ,
                variables=variables(opening, self._cache) | KEPT_MEMORY,
                stderr=log,
                watch=memory_share and partial(_watch_memory, memory_share),
                argv=argv,
            )
        try:
            opened = self._ask(Open(opening=opening), Opened, first)
        except BaseException:
            self.close()
            raise
        self.engine = Path(opened.engine) if opened.engine else None

    def evaluate(self, feeds: Mapping[str, Path], output: Path) -> list[Path]:
        """Return the files that hold one sample's outputs, named after `output`."""
        request = Evaluate(feeds=_names(feeds), output=str(output))
        answer = self._ask(request, Evaluated, self._call_timeout)
        return [Path(file) for file in answer.outputs]

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None:
        """Load a point's inputs, and reserve memory for its outputs."""
        self._ask(Bind(point=point, feeds=_names(feeds)), Done, self._call_timeout)

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        """Return the nanoseconds of each counted call at a bound point."""
        request = Turn(point=point, seconds=seconds, calls=calls)
        return self._ask(request, Timed, seconds + self._timeouts.call).times_ns

    def release(self, point: str) -> None:
        """Free what bind reserved."""
        self._ask(Release(point=point), Done, self._timeouts.call)

    def peak_memory_bytes(self) -> int | None:
        """Return the process's largest resident set so far; on a GPU its part of the GPU's memory,
        None where the driver does not tell."""
        return self._ask(Usage(), Used, self._timeouts.call).peak_bytes

    def compile_seconds(self) -> float:
        """Return the time that calls have spent on compiling so far."""
        return self._ask(Usage(), Used, self._timeouts.call).compile_seconds

    def _ask(self, request: ObservedModel, kind: type[AnswerT], timeout: float) -> AnswerT:
        try:
            return kind.model_validate(self._child.ask(request.to_api(), timeout))
        except ChildDied as error:
            if error.timed_out:
                raise VariantFailure(
                    VariantReason.TIMED_OUT, f"no answer within {timeout:g} s"
                ) from error
            if error.ended:
                raise VariantFailure(VariantReason.CRASHED, error.ended) from error
            raise exit_failure(error.returncode, self._log_tail()) from error
        except DiskError:
            raise
        except OptimizerError as error:
            raise refusal(error) from error

    def _log_tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process and all it started; nothing is lost with it."""
        self._child.close()
        shutil.rmtree(self._cache, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def refusal(error: OptimizerError) -> VariantFailure:
    """Return the failure of a variant for an error that its process answered with."""
    if isinstance(error, OutOfMemory):
        return VariantFailure(VariantReason.OUT_OF_MEMORY, str(error))
    if type(error) is OptimizerError:  # No refusal of ours: something in the process is wrong.
        return VariantFailure(VariantReason.CRASHED, str(error))
    return VariantFailure(VariantReason.BUILD_FAILED, str(error))


def _watch_memory(memory_share: Callable[[], float | None]) -> None:
    if (full := memory_failure(memory_share())) is not None:
        raise full


def _names(feeds: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in feeds.items()}
