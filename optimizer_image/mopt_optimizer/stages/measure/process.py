"""Each variant in its own process, so that a crash, a hang or its memory affects no other.

On cgroup v2 the kernel kills the whole container when it is out of memory, not one process. So
while a variant works its parent watches the container's memory, and ends the variant before that.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mopt_api.base import ObservedModel
from mopt_api.figures import VariantReason
from mopt_api.text import one_line
from mopt_optimizer.data.npy import array_in
from mopt_optimizer.errors import (
    DataError,
    DiskError,
    ModelError,
    OptimizerError,
    OutOfMemory,
    VariantFailure,
)
from mopt_optimizer.machine.system import MEMORY_END
from mopt_optimizer.quality import Array
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import builds, starts_programs, variables
from mopt_optimizer.sandbox import Child, ChildDied, answered, open_made, remove
from mopt_optimizer.stages.artifacts import copied_engine, model_files

from .messages import (
    Bind,
    Done,
    Evaluate,
    Evaluated,
    Explain,
    Explained,
    Open,
    Opened,
    Release,
    Timed,
    Turn,
    Usage,
    Used,
)

_WORKER = "mopt_optimizer.stages.measure.process_worker"


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
    if share is None or share <= MEMORY_END:
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
        output_names: Known once a sample was evaluated.
    """

    def __init__(
        self,
        name: str,
        opening: Opening,
        *,
        workdir: Path,
        environ: Mapping[str, str],
        read: Sequence[Path] = (),
        memory_share: Callable[[], float | None] | None = None,
        timeouts: Timeouts = Timeouts(),
        argv: tuple[str, ...] | None = None,
    ) -> None:
        """Start the process and open the model in it.

        Args:
            workdir: Exists; the process gets a folder of its own there.
            read: Folders of the inputs that it is going to be fed.
            memory_share: Used part of the container's memory, 0 to 1; None where it has no limit.
            argv: The program; another one only in tests.
        """
        self.name = name
        self.output_names: list[str] = []
        self._timeouts = timeouts
        first = timeouts.build if builds(opening) else timeouts.open
        longest = first if opening.compiled or opening.provider else 0
        self._call_timeout = max(timeouts.call, longest)
        self._folder = Path(tempfile.mkdtemp(dir=workdir, prefix=f"{name}-"))
        opening = opening.model_copy(update={"scratch": self._folder})
        self._child = Child(
            _WORKER,
            self._folder,
            read=(*model_files(opening.path), *read),
            programs=starts_programs(opening),
            gpu=opening.gpu,
            environ=environ,
            variables=variables(opening, self._folder / "compiled") | KEPT_MEMORY,
            watch=memory_share and partial(watch_memory, memory_share),
            argv=argv,
        )
        try:
            opened = self._ask(Open(opening=opening), Opened, first)
            # One that was not asked for is not looked at.
            engine = opened.engine if builds(opening) else None
            self.engine = self._copied(engine, workdir / f"{name}-engine")
        except BaseException:
            self.close()
            raise

    def evaluate(self, feeds: Mapping[str, Path]) -> list[Array]:
        """Return one sample's outputs, in the model's order."""
        answer = self._ask(Evaluate(feeds=_names(feeds)), Evaluated, self._call_timeout)
        self.output_names = [one_line(name, 128) for name in answer.names]
        try:
            return [_taken(self._folder, name) for name in answer.outputs]
        except (DataError, ModelError) as error:
            raise VariantFailure(VariantReason.CRASHED, str(error)) from error

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None:
        """Load a point's inputs, and reserve memory for its outputs."""
        self._ask(Bind(point=point, feeds=_names(feeds)), Done, self._call_timeout)

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        """Return the nanoseconds of each counted call at a bound point."""
        request = Turn(point=point, seconds=seconds, calls=calls)
        started = time.monotonic_ns()
        times = self._ask(request, Timed, seconds + self._timeouts.call).times_ns
        if wrong := _wrong_times(times, request, time.monotonic_ns() - started):
            raise VariantFailure(VariantReason.CRASHED, f"times of its calls {wrong}")
        return times

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

    def explain(
        self, points: Mapping[str, Mapping[str, Sequence[int]]], feeds: Mapping[str, Path]
    ) -> Explained:
        """Return what a call has to do at least, and what is executed; see Explain.

        It may open the model once more.
        """
        request = Explain(
            points={
                point: {name: list(shape) for name, shape in shapes.items()}
                for point, shapes in points.items()
            },
            feeds=_names(feeds),
        )
        return self._ask(request, Explained, self._timeouts.open)

    def _copied(self, engine: str | None, target: Path) -> Path | None:
        """Copy a built engine to where the process, which still runs, cannot change it."""
        if engine is None:
            return None
        try:
            return copied_engine(self._folder, engine, target)
        except ModelError as error:
            raise VariantFailure(VariantReason.CRASHED, str(error)) from error

    def _ask(self, request: ObservedModel, kind: type[AnswerT], timeout: float) -> AnswerT:
        return asked(self._child, request, kind, timeout)

    def close(self) -> None:
        """End the process and all it started; nothing is lost with it."""
        self._child.close()
        remove(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def asked(child: Child, request: ObservedModel, kind: type[AnswerT], timeout: float) -> AnswerT:
    """Return a child's answer to a request; raises as VariantProcess's methods."""
    try:
        return answered(kind, child.ask(request.to_api(), timeout))
    except ChildDied as error:
        if error.timed_out:
            raise VariantFailure(
                VariantReason.TIMED_OUT, f"no answer within {timeout:g} s"
            ) from error
        if error.ended:
            raise VariantFailure(VariantReason.CRASHED, error.ended) from error
        raise exit_failure(error.returncode, child.stderr_tail()) from error
    except DiskError:
        raise
    except OptimizerError as error:
        raise refusal(error) from error


def refusal(error: OptimizerError) -> VariantFailure:
    """Return the failure of a variant for an error that its process answered with."""
    if isinstance(error, OutOfMemory):
        return VariantFailure(VariantReason.OUT_OF_MEMORY, str(error))
    if type(error) is OptimizerError:  # No refusal of ours: something in the process is wrong.
        return VariantFailure(VariantReason.CRASHED, str(error))
    return VariantFailure(VariantReason.BUILD_FAILED, str(error))


def watch_memory(memory_share: Callable[[], float | None]) -> None:
    """Raise VariantFailure once the container's memory is nearly used up."""
    if (full := memory_failure(memory_share())) is not None:
        raise full


def _taken(folder: Path, name: str) -> Array:
    """Read an array that the process wrote, and delete its file."""
    with open_made(folder, name) as file:
        array = array_in(file, name)
    with contextlib.suppress(OSError):  # The process still runs: it may be a folder by now.
        (folder / name).unlink()
    return array


def _wrong_times(times: Sequence[int], asked: Turn, passed: int) -> str:
    """Return what cannot be true of the times of a turn, see timing.interleave.time_calls.

    Args:
        passed: Nanoseconds between question and answer.
    """
    total = sum(times)
    if len(times) < asked.calls:
        return f"are {len(times)}, at least {asked.calls} were asked for"
    if not asked.seconds * 1e9 <= total <= passed:
        return f"are {total} ns together, {asked.seconds:g} s were asked for, {passed} ns passed"
    return ""


def _names(feeds: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in feeds.items()}
