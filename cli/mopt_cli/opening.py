"""Model files, which are not trusted: opened in a child process without the store's keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
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


def _quiet(_stage: str, _event: LogLine) -> None:
    pass


def answer_of(
    module: str,
    request: dict[str, Any],
    *,
    stage: str,
    on_event: OnEvent = _quiet,
    workdir: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    verbose: bool = False,
) -> dict[str, Any]:
    """Return a child process's answer to a request.

    Args:
        module: DESCRIBE or COMPARE.
        stage: Stage of its events.
        on_event: Called with its progress.
        workdir: Where temporary files go.

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
            Path(os.devnull).open("wb") as nowhere,
        ):
            return run_child(
                module,
                request,
                Path(folder),
                # The child may be ended at any time: its temporary files go with the folder.
                environ={**environ, "TMPDIR": folder},
                stderr=None if verbose else nowhere,
                log=log,
            )
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error
    except ChildDied as error:
        message = f"the process that opened the model {error.how()}"
        raise work_failed(ErrorReport(reason=Reason.INVALID_MODEL, message=message)) from error
