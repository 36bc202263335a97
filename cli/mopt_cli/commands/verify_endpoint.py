"""`mopt verify-endpoint`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mopt_cli._errors import CliError, ExitCode
from mopt_cli.checks import check_rows
from mopt_cli.export_sources import name_of, result_of
from mopt_cli.extras import require_optimizer, require_serve
from mopt_cli.output import Format, FormatOption, emit

if TYPE_CHECKING:
    from mopt_optimizer.endpoint.client import Client
    from mopt_optimizer.endpoint.verifying import Asked, Report

_LOCAL = {"--source": "the source model's file", "--data": "a folder", "--references": "a folder"}


def verify_endpoint(
    url: Annotated[
        str, typer.Option(help="Address of the server, http://HOST:PORT; of gRPC HOST:PORT.")
    ],
    result: Annotated[str, typer.Option(help="result.json of the measurement, here or s3://... .")],
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC, not HTTP.")] = False,
    model: Annotated[
        str | None,
        typer.Option(help="What the server calls it. Omitted, its only one, or the result's name."),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="The form that is expected there. Omitted, the one that is selected."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the evaluation data. Omitted, as measured.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="The source model. Omitted, as measured.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Folder of the ground truth. Omitted, as measured.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0, max=1000, help="Share by which p50 may exceed the measured one, such as 0.15."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds for one answer.")] = 60,
    form: FormatOption = Format.TABLE,
) -> None:
    """Verify that a server of the Open Inference Protocol answers as it was measured.

    The source model is run here on the evaluation samples; the server's answers are judged by the
    result's gates. What the result names is read with AWS_* of the environment.

    Exit status: 0 all that is judged holds; 1 something does not, or there is no answer; 2 wrong
    usage; 130 interrupted.
    """
    _check_files({"--source": source, "--data": data, "--references": references})
    require_optimizer("verify-endpoint")
    require_serve("verify-endpoint")
    from mopt_cli.endpoints import client_of, compared, model_of, told
    from mopt_optimizer.endpoint.verifying import Asked
    from mopt_optimizer.serving import served_variant

    measured = result_of(result)
    with told(), client_of(url, grpc=grpc, timeout=timeout) as client:
        expected = served_variant(measured, variant)
        called = model_of(client, model, name_of(measured))
        asked = Asked(measured, expected, called, source, data, references, speed)
        if speed is not None and asked.point is None:
            raise CliError(f"--speed: {result} has no latency of {expected.name}")
        report = compared(client, asked)
    _emit(client, asked, report, form)
    _refuse(client, report)


def _check_files(given: Mapping[str, Path | None]) -> None:
    for option, path in given.items():
        if path is not None and not path.exists():
            raise CliError(f"{option} {path} is not there: name {_LOCAL[option]}")


def _refuse(client: Client, report: Report) -> None:
    if refused := [check for check in report.checks if not check.holds]:
        why = "; ".join(f"{check.name}: {check.message}" for check in refused)
        raise CliError(f"{client.where} does not hold: {why}", ExitCode.FAILED)


def _emit(client: Client, asked: Asked, report: Report, form: Format) -> None:
    head = {"url": client.where, "model": asked.model, "variant": asked.measured.name}
    emit(head | report.to_api(), Group(check_rows(report.checks), *_figures(report)), form)


def _figures(report: Report) -> list[Table]:
    if report.point is None:
        return []
    latency, where = report.point.latency_ms, report.overhead
    rows = Table.grid(padding=(0, 2))
    told = (
        f"p50 {latency.p50:.3g} ms, p90 {latency.p90:.3g} ms, p99 {latency.p99:.3g} ms; "
        f"{report.point.throughput:.4g} samples/s"
    )
    rows.add_row(Text("latency"), Text(told))
    if where is not None:
        told = (
            f"queue {where.queue:.3g} ms, compute {where.compute:.3g} ms; network and encoding "
            f"{where.rest:.3g} ms"
        )
        rows.add_row(Text("of these"), Text(told))
    return [rows]
