"""`mopt`: works with ModelOptimizations beside kubectl, and without a cluster."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mopt_api.extensible import EXTENSIONS_VARIABLE, load_extensions

from ._errors import CliError
from .commands import (
    check,
    compare,
    demo,
    describe,
    diff,
    export,
    fetch,
    gc,
    get,
    init,
    inspect,
    logs,
    pin,
    recommend,
    report,
    rollback,
    run_local,
    schema,
    serve,
    steering,
    table,
    verify,
    verify_endpoint,
    watch,
)
from .output import note

app = typer.Typer(
    no_args_is_help=True,
    # Plain help and errors: they read the same in a log, and start faster.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Optimize models locally, check ModelOptimizations, show their results.",
)
app.command("demo")(demo.demo)
app.command("run")(run_local.run)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("init")(init.init)
app.command("inspect")(inspect.inspect)
app.command("check")(check.check)
app.command("table")(table.table)
app.command("verify")(verify.verify)
app.command("serve")(serve.serve)
app.command("verify-endpoint")(verify_endpoint.verify_endpoint)
app.command("get")(get.get)
app.command("describe")(describe.describe)
app.command("logs")(logs.logs)
app.command("watch")(watch.watch)
app.command("rerun")(steering.rerun)
app.command("suspend")(steering.suspend)
app.command("resume")(steering.resume)
app.command("report")(report.report)
app.command("diff")(diff.diff)
app.command("recommend")(recommend.recommend)
app.command("fetch")(fetch.fetch)
app.command("pin")(pin.pin)
app.command("rollback")(rollback.rollback)
app.command("gc")(gc.gc)
app.command("schema")(schema.schema)


def _print_version(asked: bool) -> None:
    if asked:
        from mopt_optimizer.machine.versions import product_version

        print(f"mopt {product_version()}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version, with the digest of its code that results have, and exit.",
        ),
    ] = False,
) -> None:
    """Take what stands before a command."""


def run() -> int:
    """Run the command in sys.argv; return, or exit with, its status."""
    try:
        _load_extensions()
        app()
    except CliError as error:
        note(str(error))
        return error.code
    return 0


def _load_extensions() -> None:
    try:
        load_extensions(os.environ)
    except ImportError as error:
        raise CliError(f"{EXTENSIONS_VARIABLE}: {error}") from error


if __name__ == "__main__":
    sys.exit(run())
