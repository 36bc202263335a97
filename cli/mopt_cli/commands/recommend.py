"""`mopt recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    FromOption,
    KubeconfigOption,
    NamespaceOption,
    complete_names,
)
from mopt_cli.looking import resource_of
from mopt_cli.options import PriceOption
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.results import RESULT_SUFFIX, read_result
from mopt_cli.sizing import Choice, Prices, sized
from mopt_cli.sizing_table import render_sizing


def recommend(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME | RESULT.JSON...]",
            help="Name of the ModelOptimization, or a result.json of each target.",
            autocompletion=complete_names,
        ),
    ] = None,
    source: FromOption = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Requests per second. Omitted, the replicas for 10, 100 and 1,000."
        ),
    ] = None,
    price: PriceOption = None,
    cpus: Annotated[
        float | None,
        typer.Option(min=0.01, max=1024.0, help="Predict this CPU limit from those measured."),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print which target to serve on, with how many replicas, and what they cost.

    Each figure is Measured (under load, on that target), Extrapolated (from at least two CPU
    limits) or Estimated (from single calls, or from one limit).

    Exit status: 0 done, 1 it cannot be read, or nothing has won yet, 2 wrong usage, 3 no target is
    within the constraints.
    """
    prices = Prices.parse(price or [])
    choice = _choice(names or [], source, prices, Access(kubeconfig, context, namespace))
    sizing = sized(choice, rate=rate, cpus=cpus, prices=prices)
    emit(sizing.to_api(), render_sizing(sizing), form)


def _choice(names: list[str], source: Path | None, prices: Prices, access: Access) -> Choice:
    """Return what there is to choose from."""
    files = [Path(name) for name in names if name.endswith(RESULT_SUFFIX)]
    if files and (source is not None or len(files) < len(names)):
        raise CliError("give result.json files alone, or one ModelOptimization")
    if files:
        for file in files:
            if not file.is_file():
                raise CliError(f"{file} is not a file; for a ModelOptimization in a file use -f")
        return Choice.of_results([read_result(file) for file in files], prices)
    if len(names) > 1:
        raise CliError("give one ModelOptimization, or result.json files")
    return Choice.of_resource(
        resource_of("recommend", names[0] if names else None, source, access), prices
    )
