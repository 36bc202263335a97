"""A resource prepared and measured on this machine: `mopt run`, and `mopt demo`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from mopt_api.jobs.measure_result import BASELINE, MeasureResult, left_out
from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.termination import MeasureSummary
from mopt_api.status import Report

from ._errors import work_failed
from .local_plan import LocalWork, output_path
from .local_stages import Outcome, run_stages
from .output import note
from .table import limit_remarks, place, render_target, target_status, verdict


@dataclass(frozen=True)
class LocalRun:
    """Work that was done here, and where its result lies."""

    work: LocalWork
    result: MeasureResult
    report: Report

    def to_api(self) -> dict[str, object]:
        """Return it as data."""
        return {
            "output": self.work.output_uri,
            "report": self.report.to_api(),
            "result": self.result.to_api(),
        }

    def shown(self, *, verbose: bool) -> Group:
        """Return it for a terminal: the verdict, the table, and where everything is."""
        result, work = self.result, self.work
        status = target_status(result, self.report)
        where = [("everything", work.output_uri)]
        for variant in status.everyone:
            if variant.name == status.selected and variant.artifact and variant.artifact.uri:
                what = "the source model" if variant.name == BASELINE else variant.name
                where.insert(0, (what, variant.artifact.uri))
        return Group(
            Text(verdict(result), style="bold"),
            render_target(
                status,
                left_out(result),
                work.spec.objective.metric,
                result.warnings,
                remarks=limit_remarks(result),
                verbose=verbose,
            ),
            *(place(what, output_path(uri)) for what, uri in where),
        )


def run_here(work: LocalWork, workdir: Path | None = None, *, verbose: bool) -> LocalRun:
    """Run the stages, their progress on standard error, and return what they found.

    Args:
        workdir: Folder for temporary files; None is the system's.
        verbose: Show what the libraries print.

    Raises:
        CliError: A stage failed, or was interrupted.
    """
    for line in work.notes:
        note(line)
    outcome = _stages(work, workdir, verbose=verbose)
    if outcome.remark is not None:
        note(f"the first result stays: {outcome.remark}")
    return LocalRun(work, *_read(work, outcome.summary))


def _stages(work: LocalWork, workdir: Path | None, *, verbose: bool) -> Outcome:
    from mopt_optimizer.sandbox import hide_environment

    from .interrupting import interruptible
    from .progress import showing
    from .running import run_stage

    # What opens the model must not find the store's keys in our memory.
    hide_environment()
    with (
        interruptible(),
        tempfile.TemporaryDirectory(
            dir=workdir and workdir.absolute(), prefix="mopt-run-"
        ) as folder,
        showing(Console(stderr=True)) as on_event,
        Path(os.devnull).open("wb") as nowhere,
    ):
        stderr = None if verbose else nowhere
        environ = os.environ | work.variables
        return run_stages(
            work,
            lambda plan: run_stage(plan, Path(folder), on_event, environ=environ, stderr=stderr),
        )


def _read(work: LocalWork, summary: MeasureSummary) -> tuple[MeasureResult, Report]:
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of
    from mopt_optimizer.store.blobs import Blobs
    from mopt_optimizer.store.registry import open_store

    try:
        store, prefix = open_store(work.output_uri, Credentials.OUTPUT, os.environ)
        blobs = Blobs(store, prefix)
        result = MeasureResult.model_validate_json(blobs.read(summary.result))
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error
    served = summary.served_from_store is True
    return (
        result.model_copy(update={"served_from_store": served}),
        Report.under(work.output_uri, summary.result),
    )
