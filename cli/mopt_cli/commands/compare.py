"""`mopt compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.text import Text

from mopt_api.text import plain
from mopt_cli._errors import CliError
from mopt_cli.extras import require_optimizer
from mopt_cli.options import FormatHint, ModelArgument, shapes_of
from mopt_cli.output import Format, FormatOption, emit, note

if TYPE_CHECKING:
    from mopt_optimizer.compare.table import StrategyTable


def compare(
    model: ModelArgument,
    shape: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME:SHAPE of random samples, such as image:1x3x128x128."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of samples to calibrate INT8 ranges on.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder of samples to measure quality on.")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="A row, such as onnxruntime-int8. Omitted, all rows.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Maximum number of samples from a folder.")
    ] = 8,
    data_range: Annotated[
        float, typer.Option(min=1e-12, help="Span of the output values, for PSNR.")
    ] = 1.0,
    seconds: Annotated[
        float, typer.Option(min=0, max=600, help="Minimum time to measure each form.")
    ] = 3.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads to use. Omitted, those of this machine.")
    ] = None,
    model_format: FormatHint = None,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries print.")
    ] = False,
) -> None:
    """Measure every optimized form of a PyTorch model against the source model.

    Forms that this machine cannot run are listed with the reason.
    """
    _check_paths(model, calibration, evaluation)
    shapes = shapes_of(shape)
    require_optimizer("compare")
    if evaluation is None:
        note("without --evaluation, quality is measured on random inputs: not representative")
    table = _measured(
        {
            "path": str(model.absolute()),
            "format": model_format,
            "evaluation": evaluation and str(evaluation.absolute()),
            "calibration": calibration and str(calibration.absolute()),
            "samples": samples,
            "inputs": shapes,
            "strategies": strategy or [],
            "data_range": data_range,
            "seconds": seconds,
            "threads": threads,
        },
        verbose=verbose,
    )
    emit(TypeAdapter(type(table)).dump_python(table, mode="json"), _text(table), form)


def _check_paths(model: Path, calibration: Path | None, evaluation: Path | None) -> None:
    if not model.is_file():
        raise CliError(f"{model} is not a file")
    for option, folder in (("--calibration", calibration), ("--evaluation", evaluation)):
        if folder is not None and not folder.is_dir():
            raise CliError(f"{option} {folder} is not a folder")


def _measured(request: dict[str, Any], *, verbose: bool) -> StrategyTable:
    """Return the strategy table that a process without credentials measures."""
    from mopt_cli.opening import COMPARE, answer_of
    from mopt_cli.progress import showing
    from mopt_optimizer.compare.table import StrategyTable
    from mopt_optimizer.stages.measure.process import KEPT_MEMORY

    # See mopt_optimizer.compare.strategies: threads that spin flatter the others.
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **KEPT_MEMORY}
    read = [Path(request[name]) for name in ("path", "evaluation", "calibration") if request[name]]
    with showing(Console(stderr=True)) as on_event:
        return answer_of(
            StrategyTable,
            COMPARE,
            request,
            stage="compare",
            read=read,
            on_event=on_event,
            variables=variables,
            verbose=verbose,
        )


def _text(table: StrategyTable) -> Text:
    text = "\n".join(plain(line) for line in table.render().splitlines())
    return Text(text, no_wrap=True, overflow="ignore")
