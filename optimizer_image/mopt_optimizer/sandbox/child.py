"""The parent's side: starts a child, sends requests, limits and watches it, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from mopt_api.sandbox import sandbox_mode
from mopt_api.text import cleaned
from mopt_optimizer.confinement.privileges import adopt_orphans
from mopt_optimizer.confinement.walls import Walls
from mopt_optimizer.errors import ModelError
from mopt_optimizer.progress import Log

from .clock import TOO_LONG, Clock
from .environ import child_environ
from .limits import Limits
from .pipes import OverlongLineError, Pipes
from .replies import Reply
from .reports import typed_error
from .stderr import StandardError

# Of progress, in one answer: a search logs some thousand.
MAX_LOG_LINES = 100_000
# Reading the cgroup takes some 50 microseconds: a thousandth of the time at this pace.
WATCH_SECONDS = 0.05
LOOK_SECONDS = 1.0
NO_ANSWER = "answered what is no answer"
_START = "mopt_optimizer.start_child"
_STOP_SECONDS = 5.0


class ChildDied(Exception):
    """The child ended without an answer.

    Attributes:
        returncode: As subprocess has it: -N for signal N, else the exit status.
        ended: Why it was ended here; empty where it ended by itself.
    """

    def __init__(self, returncode: int, ended: str = "") -> None:
        self.returncode = returncode
        self.ended = ended
        super().__init__(self.how())

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because it took too long."""
        return self.ended == TOO_LONG

    def how(self) -> str:
        """Return a description of how it ended."""
        if self.ended:
            return f"{self.ended} and was ended"
        if self.returncode < 0:
            return f"was ended by {signal.Signals(-self.returncode).name}"
        return f"ended with exit status {self.returncode}"


def _ignore(step: str, message: str, **fields: object) -> None:
    pass


class Child:
    """A running child. A context manager: it and all it started are gone on exit.

    It gets no credentials, a session of its own, and a folder to work in. Before it opens anything
    it is enclosed (confinement): it reads the libraries and what it is given, writes to its folder,
    and reaches no socket and no other process.
    """

    def __init__(
        self,
        module: str,
        workdir: Path,
        *,
        read: Iterable[Path] = (),
        programs: bool = False,
        forks: bool = False,
        gpu: bool = False,
        environ: Mapping[str, str] = os.environ,
        variables: Mapping[str, str] | None = None,
        stderr: IO[str] | None = None,
        log: Log = _ignore,
        watch: Callable[[], None] | None = None,
        patience: Callable[[str], float] | None = None,
        argv: tuple[str, ...] | None = None,
    ) -> None:
        """Start `python -m module workdir`, whose main is serve().

        Args:
            workdir: An existing folder, empty, that is the child's to write in; no other's.
            read: Files and folders that it may read beside that.
            programs: Whether it may start programs.
            forks: Whether it may fork.
            gpu: Whether it may use GPUs.
            environ: Ours; what its libraries need of that is passed on.
            variables: Set on top.
            stderr: Stands in for our standard error.
            log: Gets the child's progress.
            watch: Called again and again while it works; what it raises ends the child.
            patience: See Clock.
            argv: The program in place of module's; only in tests.
        """
        self._log, self._watch, self._patience, self._looked = log, watch, patience, 0.0
        self.folder = workdir.resolve()
        read = [path.resolve() for path in read]
        self._limits = Limits.of(read, self.folder, environ)
        walls = Walls(
            str(self.folder),
            tuple(map(str, read)),
            programs,
            gpu,
            sandbox_mode(environ),
            2 * self._limits.disk_bytes,  # One that writes on is told of all that it wrote.
            forks,
        )
        adopt_orphans()
        self._stderr = StandardError(stderr)
        variables = child_environ(environ, self.folder) | dict(variables or {})
        self._process = self._start(module, argv, walls, variables)
        self._stderr.start()
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._pipes = Pipes(self._process.stdin, self._process.stdout)

    def _start(
        self, module: str, argv: tuple[str, ...] | None, walls: Walls, variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        # Walls by a file: what may be read can be more than the kernel takes as an argument.
        with tempfile.TemporaryFile("w+") as file:
            file.write(walls.to_json())
            file.seek(0)
            start = (_START, str(os.getpid()), str(file.fileno()), module, str(self.folder))
            return subprocess.Popen(
                argv or (sys.executable, "-P", "-m", *start),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr.writing,
                bufsize=0,
                cwd=self.folder,
                env=variables,
                start_new_session=True,
                pass_fds=(file.fileno(),),
            )

    def ask(self, request: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Return the answer to a request.

        Args:
            timeout: Seconds until the child is ended; None waits forever.

        Raises:
            OptimizerError: The typed error that the child answered with; it goes on.
            ChildDied: It crashed, was killed, took too long, or answered nonsense.
        """
        clock = Clock(timeout, self._patience)
        idle = partial(self._idle, clock)
        # One that is gone has said why: what it wrote is read all the same.
        self._pipes.write(json.dumps(request).encode() + b"\n", idle)
        for _ in range(MAX_LOG_LINES):
            reply = self._reply(idle)
            if reply.error is not None:
                raise typed_error(reply.error)
            if reply.answer is not None:
                return reply.answer
            if reply.log is not None:
                line = cleaned(reply.log)
                clock.enter(line.step)
                self._log(line.step, line.message, **line.fields)
        raise self._ended(NO_ANSWER)

    def _reply(self, idle: Callable[[], float]) -> Reply:
        try:
            line = self._pipes.read_line(idle)
            if line is not None:
                return Reply.model_validate_json(line)
        except (ValidationError, OverlongLineError) as error:
            raise self._ended(NO_ANSWER) from error
        raise self._died()

    def _idle(self, clock: Clock) -> float:
        """Look at the child; return for how many seconds nobody needs to again."""
        left, late = clock.left()
        if left is not None and left <= 0:
            raise self._ended(late)
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if beyond := self._limits.exceeded(self.folder, self._process.pid):
                raise self._ended(beyond)
        if self._watch is not None:
            try:
                self._watch()
            except BaseException:
                self._kill()
                raise
        pause = LOOK_SECONDS if self._watch is None else WATCH_SECONDS
        return pause if left is None else min(left, pause)

    def _died(self) -> ChildDied:
        """Return how a child ended that closed its output."""
        try:
            died = ChildDied(self._process.wait(_STOP_SECONDS))
        except subprocess.TimeoutExpired:
            return self._ended("closed its output without ending")
        self._kill()  # Whom it left behind.
        return died

    def _ended(self, why: str) -> ChildDied:
        self._kill()
        return ChildDied(self._process.wait(), why)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def stderr_tail(self) -> str:
        """Return the last lines of an ended child's standard error."""
        return self._stderr.tail()

    def close(self) -> None:
        """End it and all it started: it holds nothing to lose.

        They are one process group, which none can leave, and orphans are adopted: once it returns
        nobody is left who could change a file.
        """
        self._kill()
        self._process.wait()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-self._process.pid, 0)
        self._stderr.close()
        self._pipes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


AnswerT = TypeVar("AnswerT")


def answered(kind: type[AnswerT], answer: Mapping[str, Any]) -> AnswerT:
    """Return an answer as the model that it should be of.

    Raises:
        ModelError: It is not: a child that a model took over may say anything.
    """
    try:
        return TypeAdapter(kind).validate_python(answer)
    except ValidationError as error:
        raise ModelError(f"the process that opened the model {NO_ANSWER}") from error


def run_child(
    module: str,
    request: Mapping[str, Any],
    workdir: Path,
    *,
    read: Iterable[Path] = (),
    programs: bool = False,
    timeout: float | None = None,
    environ: Mapping[str, str] = os.environ,
    variables: Mapping[str, str] | None = None,
    stderr: IO[str] | None = None,
    log: Log = _ignore,
    watch: Callable[[], None] | None = None,
    patience: Callable[[str], float] | None = None,
) -> dict[str, Any]:
    """Return the answer of a child that is asked once; the arguments are Child's and ask's.

    Raises:
        OptimizerError: The typed error that the child answered with.
        ChildDied: It crashed, was killed, or took too long.
    """
    with Child(
        module,
        workdir,
        read=read,
        programs=programs,
        environ=environ,
        variables=variables,
        stderr=stderr,
        log=log,
        watch=watch,
        patience=patience,
    ) as child:
        return child.ask(request, timeout)
