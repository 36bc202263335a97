"""`mopt check`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mopt_api.enums import TargetKind
from mopt_api.runtimes import runtimes_on
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.text import one_line
from mopt_cli._errors import ExitCode
from mopt_cli.field_problems import problems
from mopt_cli.forecast import Forecast, Outlook, forecasts
from mopt_cli.normalization import normalization_warnings
from mopt_cli.output import Format, FormatOption, emit, note
from mopt_cli.resources import FileArgument, load


def check(file: FileArgument, form: FormatOption = Format.TABLE) -> None:
    """Validate a resource with the CRD's rules, offline, and show what would be tried here.

    Exit status: 1 if a rule is violated.
    """
    document = load(file)
    broken = problems(document.get("spec"))
    spec = None if broken else ModelOptimizationSpec.model_validate(document["spec"])
    here = [] if spec is None else _here(spec)
    warnings = [] if spec is None else normalization_warnings(spec)
    data = {
        "valid": not broken,
        "problems": broken,
        "warnings": warnings,
        "variants": [p.to_api() for p in here],
    }
    if not broken:
        for warning in warnings:
            note(f"warning: {one_line(warning)}")
        emit(data, _shown(file, here), form)
        return
    if form is not Format.TABLE:
        emit(data, "", form)
    for problem in broken:
        typer.echo(one_line(problem), err=True)
    raise typer.Exit(ExitCode.FAILED)


def _here(spec: ModelOptimizationSpec) -> list[Forecast]:
    from mopt_optimizer.machine.compilers import compiler_version
    from mopt_optimizer.machine.system import System

    features = System().hardware(os.environ).cpu_features
    installed = [
        runtime
        for runtime, info in runtimes_on(TargetKind.CPU).items()
        if find_spec(info.module) is not None
    ]
    return forecasts(spec, features, installed, compiler_version())


def _shown(file: Path, here: list[Forecast]) -> Group:
    rows = Table(box=None, pad_edge=False)
    for heading in ("VARIANT", "HERE", "WHY"):
        rows.add_column(heading, no_wrap=heading != "WHY")
    rows.add_row("baseline", Outlook.TRIED, "the source model")
    for forecast in here:
        why = f"{forecast.reason}: {forecast.message}" if forecast.reason else forecast.message
        style = "" if forecast.outlook is Outlook.TRIED else "dim"
        rows.add_row(forecast.variant.name, forecast.outlook, why, style=style)
    return Group(Text(f"{file}: valid"), rows)
