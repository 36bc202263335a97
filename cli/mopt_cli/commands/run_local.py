"""`mopt run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mopt_cli._errors import CliError, ExitCode
from mopt_cli.extras import require_optimizer
from mopt_cli.local_plan import Overrides, local_work
from mopt_cli.local_run import run_here
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.resources import FileArgument, load


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
    done = run_here(work, workdir, verbose=verbose)
    emit(done.to_api(), done.shown(verbose=verbose), form)
    if done.result.selected is None:
        raise typer.Exit(ExitCode.NO_WINNER)
