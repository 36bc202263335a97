"""`mopt run`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.text import Text

from mopt_api.jobs.measure_result import BASELINE, MeasureResult, left_out
from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.termination import MeasureSummary
from mopt_api.status import Report
from mopt_cli._errors import CliError, ExitCode, work_failed
from mopt_cli.extras import require_optimizer
from mopt_cli.local_plan import LocalWork, Overrides, local_work, output_path
from mopt_cli.local_stages import Outcome, run_stages
from mopt_cli.output import Format, FormatOption, emit, note
from mopt_cli.resources import FileArgument, load
from mopt_cli.table import limit_remarks, place, render_target, target_status, verdict


def run(
    file: FileArgument,
    output: Annotated[
        str | None,
        typer.Option(help="Folder or s3://BUCKET/PREFIX. Omitted, spec.output, else mopt-output."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file in place of spec.model; its digest is used.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder in place of spec.data.calibration.uri.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder in place of spec.data.evaluation.uri.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Folder in place of spec.data.evaluation.references.uri.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Which of spec.targets this machine represents.")
    ] = None,
    workdir: Annotated[
        Path | None,
        typer.Option(help="Folder for temporary files, several times the model's size."),
    ] = None,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries print.")
    ] = False,
) -> None:
    """Prepare and measure a resource's variants on this machine, without a cluster.

    Exit status: 0 a variant or the baseline is selected, 3 nothing is (onNoWinner: Fail),
    2 wrong usage or spec, 1 the work failed, 130 interrupted.
    """
    work = local_work(
        load(file), file, Overrides(model, calibration, evaluation, references, output, target)
    )
    if workdir is not None and not workdir.is_dir():
        raise CliError(f"--workdir {workdir} is not a folder")
    require_optimizer("run")
    for line in work.notes:
        note(line)
    outcome = _stages(work, workdir, verbose=verbose)
    if outcome.remark is not None:
        note(f"the first result stays: {outcome.remark}")
    result, report = _read(work, outcome.summary)
    emit(
        {"output": work.output_uri, "report": report.to_api(), "result": result.to_api()},
        _shown(work, result, report, verbose=verbose),
        form,
    )
    if result.selected is None:
        raise typer.Exit(ExitCode.NO_WINNER)


def _stages(work: LocalWork, workdir: Path | None, *, verbose: bool) -> Outcome:
    from mopt_cli.interrupting import interruptible
    from mopt_cli.progress import showing
    from mopt_cli.running import run_stage
    from mopt_optimizer.sandbox import hide_environment

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
        return run_stages(work, lambda plan: run_stage(plan, Path(folder), on_event, stderr=stderr))


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


def _shown(work: LocalWork, result: MeasureResult, report: Report, *, verbose: bool) -> Group:
    status = target_status(result, report)
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
