"""`mopt inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.enums import ModelFormat
from mopt_api.status import Report
from mopt_api.text import plain
from mopt_cli._errors import CliError
from mopt_cli.engines import engine_of, inspected, shown
from mopt_cli.extras import require_optimizer
from mopt_cli.objective_words import objective_of
from mopt_cli.options import FormatHint, ModelArgument, dimensions_of
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.results import read_result
from mopt_cli.table import limit_remarks, render_target, target_status, verdict

if TYPE_CHECKING:
    from mopt_optimizer.formats.base import DescribedAxis, DescribedValue, ModelDescription


def inspect(
    file: ModelArgument,
    dimension: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZE to count FLOPs at; repeat for each dynamic dimension."),
    ] = None,
    model_format: FormatHint = None,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries print.")
    ] = False,
) -> None:
    """Describe a model file, a result.json or a TensorRT engine.

    A model is opened in a separate process; for an engine only its manifest is read.
    """
    if not file.is_file():
        raise CliError(f"{file} is not a file")
    engine = engine_of(file) if model_format is None else None
    if engine is not None:
        inspection = inspected(engine)
        emit(inspection.to_api(), shown(inspection), form)
        return
    if model_format is None and _is_json(file):
        result = read_result(file)
        report = Report(digest="", uri=str(file))
        status = target_status(result, report)
        rows = render_target(
            status,
            metric=objective_of(result),
            remarks=limit_remarks(result),
            verbose=verbose,
        )
        emit(result.to_api(), Group(Text(verdict(result), style="bold"), rows), form)
        return
    description = describe(file, model_format, dimensions_of(dimension), verbose=verbose)
    emit(description.to_api(), _shown(description), form)


def describe(
    file: Path,
    model_format: ModelFormat | None = None,
    dimensions: dict[str, int] | None = None,
    *,
    run: bool = False,
    shapes: dict[str, list[int]] | None = None,
    types: dict[str, str] | None = None,
    verbose: bool = False,
) -> ModelDescription:
    """Return what a model file holds.

    Args:
        run: Whether to run it on noise too.
        shapes, types: Of inputs that the file does not tell.

    Raises:
        CliError: It is not a model, is unsafe or damaged; or the optimizer is not installed.
    """
    require_optimizer("inspect")
    from mopt_cli.opening import DESCRIBE, answer_of
    from mopt_optimizer.formats.base import DescribeRequest, ModelDescription

    request = DescribeRequest(
        path=str(file.absolute()),
        format=model_format,
        dimensions=dimensions or {},
        run=run,
        shapes=shapes or {},
        types=types or {},
    )
    return answer_of(
        ModelDescription,
        DESCRIBE,
        request.to_api(),
        stage="describe",
        read=[file],
        verbose=verbose,
    )


def _is_json(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(64).lstrip().startswith(b"{")


def _shown(model: ModelDescription) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    operators = sorted(model.operators.items(), key=lambda item: (-item[1], item[0]))
    flops = "unknown: give --dimension NAME=SIZE for each dynamic dimension"
    if model.format is ModelFormat.TORCH_SCRIPT:
        flops = "not counted for TorchScript"
    if model.flops is not None:
        sizes = ", ".join(f"{n}={s}" for n, s in model.dimensions.items())
        flops = f"{model.flops:,}" + (f" at {sizes}" if sizes else "")
    rows = [
        ("format", model.format.value),
        ("size", f"{model.size_bytes / 2**20:.2f} MiB"),
        ("opset", str(model.opset) if model.opset else "-"),
        ("parameters", f"{model.parameters:,}"),
        ("FLOPs", flops),
        *(("input", _value(value)) for value in model.inputs),
        *(("output", _value(value)) for value in model.outputs),
        ("operators", f"{model.nodes}: " + ", ".join(f"{n} {c}" for n, c in operators)),
        *(("external data", name) for name in model.external_data),
    ]
    for heading, text in rows:
        facts.add_row(Text(heading, style="bold"), Text(plain(text)))
    return facts


def _value(value: DescribedValue) -> str:
    shape = "unknown shape" if value.axes is None else f"[{', '.join(map(_axis, value.axes))}]"
    return " ".join(filter(None, (value.name, value.dtype, shape)))


def _axis(axis: DescribedAxis) -> str:
    if axis.size is not None:
        return str(axis.size)
    text = axis.symbol or "?"
    if axis.minimum is not None or axis.maximum is not None:
        text += f" {axis.minimum or ''}..{axis.maximum or ''}"
    return text
