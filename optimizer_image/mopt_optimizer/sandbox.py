"""A fresh interpreter for bytes that are not trusted: no store credentials, local files only.

The parent holds the credentials and does all store I/O. The child gets a request as JSON, works
in a folder, and answers with JSON or a typed error.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials
from mopt_api.reasons import MAX_MESSAGE, ErrorReport, Reason

from .errors import OptimizerError
from .progress import Log, json_log

REQUEST = "request.json"
RESPONSE = "response.json"
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
# Reading the cgroup takes some 50 microseconds: a thousandth of the time at this pace.
WATCH_SECONDS = 0.05

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4

_SECRET = re.compile(
    r"(^|_)AWS_|(^|_)CA_CRT$|^MOPT_(" + "|".join(Credentials) + r")_|^" + PLAN_VARIABLE + "$"
)

Handler = Callable[[dict[str, Any], Path, Log], dict[str, Any]]


class ChildDied(Exception):
    """The child ended without an answer.

    Attributes:
        returncode: As subprocess has it: -N for signal N, else the exit status.
        timed_out: It was ended here because it took too long.
    """

    def __init__(self, returncode: int, *, timed_out: bool) -> None:
        self.returncode = returncode
        self.timed_out = timed_out
        super().__init__(self.how())

    def how(self) -> str:
        """Return in words how it ended."""
        if self.timed_out:
            return "took too long and was ended"
        if self.returncode < 0:
            return f"was ended by {signal.Signals(-self.returncode).name}"
        return f"ended with exit status {self.returncode}"


class MemoryExceeded(OptimizerError):
    """The child was killed, which only the kernel does when memory runs out."""

    reason = Reason.OUT_OF_MEMORY


def child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the plan and without anything of a store's credentials.

    ONNX Runtime's official builds report to their makers unless told not to.
    """
    kept = {name: value for name, value in environ.items() if not _SECRET.search(name)}
    return {"ORT_DISABLE_TELEMETRY": "1"} | kept


def hide_environment() -> None:
    """Keep this process's memory and /proc/PID/environ from other processes of the same user.

    A model that takes over the child would else find the credentials in its parent. Linux only;
    elsewhere nothing happens. A child's exec makes the child itself readable again.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def run_child(
    module: str,
    request: dict[str, Any],
    workdir: Path,
    *,
    timeout: float | None = None,
    environ: Mapping[str, str] = os.environ,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    watch: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run `python -m module workdir`, whose main is serve(), and return its answer.

    Its progress goes to our standard output, everything else that it prints to standard error.

    Args:
        workdir: An existing folder that is the child's to write in; one per child.
        timeout: Seconds until it is ended; None waits forever.
        stdout, stderr: Files or descriptors that stand in for ours.
        watch: Called again and again while it works; what it raises ends the child.

    Raises:
        OptimizerError: The typed error that the child answered with.
        ChildDied: It crashed, was killed, or took too long.
    """
    (workdir / REQUEST).write_text(json.dumps(request))
    response = workdir / RESPONSE
    response.unlink(missing_ok=True)
    command = [sys.executable, "-m", module, str(workdir)]
    process = subprocess.Popen(
        command,
        env=child_environ(environ),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        _wait(process, timeout, watch)
    except subprocess.TimeoutExpired as error:
        raise ChildDied(-signal.SIGKILL, timed_out=True) from error
    finally:
        _end(process)
    if not response.is_file() or response.stat().st_size > MAX_RESPONSE_BYTES:
        raise ChildDied(process.returncode, timed_out=False)
    return _answer(response.read_bytes(), process.returncode)


def _wait(
    process: subprocess.Popen[bytes], timeout: float | None, watch: Callable[[], None] | None
) -> None:
    if watch is None:
        process.wait(timeout)
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    while process.poll() is None:
        watch()
        left = WATCH_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise subprocess.TimeoutExpired(process.args, timeout or 0.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(left, WATCH_SECONDS))


def _answer(data: bytes, returncode: int) -> dict[str, Any]:
    try:
        answer = json.loads(data)
        if "result" in answer:
            result: dict[str, Any] = dict(answer["result"])
            return result
        report = ErrorReport.model_validate(answer["error"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ChildDied(returncode, timed_out=False) from error
    raise typed_error(report)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child and all it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _subclasses(kind: type[OptimizerError]) -> list[type[OptimizerError]]:
    return [kind, *(c for direct in kind.__subclasses__() for c in _subclasses(direct))]


def typed_error(report: ErrorReport) -> OptimizerError:
    """Return the error of a report, as the class that carries its reason."""
    for kind in _subclasses(OptimizerError):
        if kind.reason is report.reason and "reason" in vars(kind):
            return kind(report.message)
    return OptimizerError(report.message)


def report_of(error: BaseException) -> ErrorReport:
    """Return how an error is told to the user; one that is not ours is InternalError."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason, message = Reason.OUT_OF_DISK, f"no space left on the scratch volume: {error}"
    elif isinstance(error, OptimizerError):
        reason, message = error.reason, str(error)
    else:
        reason, message = Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}"
    return ErrorReport(reason=reason, message=" ".join(message.split())[:MAX_MESSAGE])


def serve(handler: Handler) -> int:
    """Answer the request in the folder named by the first argument; the child's whole main.

    Returns:
        The exit status: 0 for an answer, 1 for an error, which is written as the answer too.
    """
    if sys.platform == "linux":
        # The parent's end is ours, also where nobody is left to kill us.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    workdir = Path(sys.argv[1])
    progress = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print as they like; standard output is for progress
    request = json.loads((workdir / REQUEST).read_text())
    try:
        answer = {"result": handler(request, workdir, json_log(progress))}
    except OptimizerError as error:
        answer = {"error": report_of(error).to_api()}
    except Exception as error:  # noqa: BLE001 - the parent reports it as InternalError
        traceback.print_exc()
        answer = {"error": report_of(error).to_api()}
    temporary = workdir / f".{RESPONSE}"
    temporary.write_text(json.dumps(answer))
    temporary.replace(workdir / RESPONSE)
    return 0 if "result" in answer else 1
