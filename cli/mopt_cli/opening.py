"""Model files, which are not trusted: opened in a child process without the store's keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mopt_api.log_lines import LogLine, log_line
from mopt_api.reasons import ErrorReport, Reason
from mopt_api.text import cleaned_value
from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.sandbox import (
    ChildDied,
    answered,
    hide_environment,
    report_of,
    run_child,
    temporary_folder,
)

from ._errors import work_failed
from .interrupting import interruptible
from .progress import OnEvent

DESCRIBE = "mopt_optimizer.formats.describe_worker"
COMPARE = "mopt_optimizer.compare.worker"

# Longest times without a word, in seconds: of a file's description, and of one row of a table.
_PATIENCE: dict[str, Callable[[str], float]] = {
    DESCRIBE: lambda _step: 600.0,
    COMPARE: lambda _step: 3600.0,
}


def _quiet(_stage: str, _event: LogLine) -> None:
    pass


AnswerT = TypeVar("AnswerT")


def answer_of(
    kind: type[AnswerT],
    module: str,
    request: dict[str, Any],
    *,
    stage: str,
    read: Iterable[Path],
    on_event: OnEvent = _quiet,
    workdir: Path | None = None,
    variables: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> AnswerT:
    """Return a child process's answer to a request, clean to be shown.

    Args:
        kind: What it should be.
        module: DESCRIBE or COMPARE.
        stage: Stage of its events.
        read: Files and folders that it may read.
        on_event: Called with its progress.
        workdir: Where temporary files go.
        variables: Set in its environment.

    Raises:
        CliError: It failed; the message says why and what to do.
    """
    hide_environment()

    def log(step: str, message: str, **fields: object) -> None:
        line = log_line({**fields, "step": step, "message": message})
        on_event(stage, line or LogLine(step=step, message=message))

    try:
        with (
            interruptible(),
            temporary_folder(workdir, prefix="mopt-") as folder,
            Path(os.devnull).open("w") as nowhere,
        ):
            answer = run_child(
                module,
                request,
                folder,
                read=read,
                programs=module == COMPARE,
                variables=variables,
                stderr=None if verbose else nowhere,
                log=log,
                patience=_PATIENCE[module],
            )
            return answered(kind, cleaned_value(answer))
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error
    except ChildDied as error:
        message = f"the process that opened the model {error.how()}"
        raise work_failed(ErrorReport(reason=Reason.INVALID_MODEL, message=message)) from error
