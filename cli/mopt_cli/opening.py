"""Model files, which are not trusted: opened in a child process without the store's keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mopt_api.log_lines import LogLine
from mopt_api.reasons import ErrorReport, Reason
from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.sandbox import ChildDied, hide_environment, report_of, run_child

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


def answer_of(
    module: str,
    request: dict[str, Any],
    *,
    stage: str,
    read: Iterable[Path],
    on_event: OnEvent = _quiet,
    workdir: Path | None = None,
    variables: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> dict[str, Any]:
    """Return a child process's answer to a request.

    Args:
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
        on_event(stage, LogLine.model_validate({"step": step, "message": message, **fields}))

    try:
        with (
            interruptible(),
            tempfile.TemporaryDirectory(dir=workdir, prefix="mopt-") as folder,
            Path(os.devnull).open("w") as nowhere,
        ):
            return run_child(
                module,
                request,
                Path(folder),
                read=read,
                programs=module == COMPARE,
                variables=variables,
                stderr=None if verbose else nowhere,
                log=log,
                patience=_PATIENCE[module],
            )
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error
    except ChildDied as error:
        message = f"the process that opened the model {error.how()}"
        raise work_failed(ErrorReport(reason=Reason.INVALID_MODEL, message=message)) from error
