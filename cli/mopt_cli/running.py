"""Runs the stages as the Jobs do: one child process each, the plan in MOPT_PLAN."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mopt_api.jobs.plan import PLAN_VARIABLE, JobPlan
from mopt_api.jobs.termination import ErrorSummary, MessageError, Summary, decode
from mopt_api.log_lines import LogLine, parse_line
from mopt_api.reasons import ErrorReport, Reason
from mopt_optimizer.main import TERMINATION_VARIABLE

from ._errors import work_failed
from .progress import OnEvent

# A stage ends its own children and removes its files; it waits on no network meanwhile.
_GRACE_SECONDS = 15
# Longer ones are none of ours: they come in parts, of which none is a log line.
_MAX_LINE_BYTES = 1024 * 1024


def run_stage(
    plan: JobPlan,
    workdir: Path,
    on_event: OnEvent,
    *,
    environ: Mapping[str, str] = os.environ,
    stderr: IO[Any] | None = None,
) -> Summary:
    """Run one stage to its end and return its summary; on any exception it is ended.

    Args:
        workdir: An existing folder for temporary files.
        stderr: Gets what libraries print; None is ours.

    Raises:
        CliError: It failed; the message says why and what to do.
    """
    stage = plan.stage.value.lower()
    message = workdir / f"{stage}.termination"
    message.unlink(missing_ok=True)
    values = {
        **environ,
        PLAN_VARIABLE: json.dumps(plan.to_api()),
        TERMINATION_VARIABLE: str(message),
    }
    module = ("-P", "-m", "mopt_optimizer.main")
    command = [sys.executable, *module, stage, "--workdir", str(workdir)]
    status = run_logged(command, stage, on_event, environ=values, stderr=stderr)
    return _summary(message, status)


def run_logged(
    command: Sequence[str],
    stage: str,
    on_event: OnEvent,
    *,
    environ: Mapping[str, str] = os.environ,
    stderr: IO[Any] | None = None,
) -> int:
    """Run a process that logs its work to its end and return its status.

    On any exception it is ended.

    Args:
        stage: What its events are of.
        stderr: Gets what libraries print; None is ours.
    """
    # In a new session: Ctrl-C reaches this process only, which ends the other in order.
    with subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    ) as process:
        try:
            for event in _events(process):
                on_event(stage, event)
            process.wait()
        finally:
            _stop(process)
    return process.returncode


def _events(process: subprocess.Popen[bytes]) -> Iterator[LogLine]:
    if process.stdout is None:
        return
    while line := process.stdout.readline(_MAX_LINE_BYTES):
        if (event := parse_line(line)) is not None:
            yield event


def _summary(message: Path, returncode: int) -> Summary:
    try:
        summary = decode(message.read_text())
    except (OSError, MessageError) as error:
        raise work_failed(_death(returncode)) from error
    if isinstance(summary, ErrorSummary):
        raise work_failed(summary.error)
    return summary


def _death(returncode: int) -> ErrorReport:
    """Return why a stage that wrote no message ended."""
    if returncode == -signal.SIGKILL:
        return ErrorReport(reason=Reason.OUT_OF_MEMORY, message="the stage was killed")
    how = f"by {signal.Signals(-returncode).name}" if returncode < 0 else f"with {returncode}"
    return ErrorReport(reason=Reason.INTERNAL_ERROR, message=f"the stage ended {how}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a stage that still runs: in order first, by force where that takes too long."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # A second Ctrl-C: at once.
        # Its own children end with it (PR_SET_PDEATHSIG).
        process.kill()
        process.wait()
