"""`mopt demo`."""

from __future__ import annotations

import os
import shlex
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.text import Text

from mopt_cli.extras import require_demo
from mopt_cli.local_plan import Overrides, local_work, output_path
from mopt_cli.local_run import LocalRun, run_here
from mopt_cli.output import Format, FormatOption, emit, note
from mopt_cli.resources import load


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where everything goes; made if needed.")
    ] = Path("mopt-demo"),
    show: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser at the end.")
    ] = False,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries print.")
    ] = False,
) -> None:
    """Optimize an example on this machine, in a minute or two: no cluster, no store, no network.

    A small network that doubles the size of photographs is trained, exported, quantized, compared
    with its FP32 output and measured, as mopt run does with a model of yours. Called again, it is
    served from FOLDER.

    Exit status: 0 done, 2 FOLDER holds something else, 1 the work failed, 130 interrupted.
    """
    require_demo()
    from mopt_cli.demo import photographs
    from mopt_cli.demo.folder import is_made
    from mopt_cli.demo.making import RESOURCE

    photographs.check()
    if not is_made(folder):
        note(f"everything goes to {folder}; it takes a minute or two")
        _make(folder, verbose=verbose)
    file = folder / RESOURCE
    work = local_work(load(file), file, Overrides(output=str(folder / "output")))
    done = run_here(work, verbose=verbose)
    emit(done.to_api(), Group(done.shown(verbose=verbose), _next(file, done)), form)
    page = Path(output_path(done.report.page or ""))
    if show and not webbrowser.open(page.as_uri()):
        note("no browser can be opened here: open the report with one")


def _make(folder: Path, *, verbose: bool) -> None:
    from mopt_cli.demo.folder import make
    from mopt_cli.interrupting import interruptible
    from mopt_cli.progress import showing

    with (
        interruptible(),
        Path(os.devnull).open("wb") as nowhere,
        showing(Console(stderr=True)) as on_event,
    ):
        make(folder, on_event, stderr=None if verbose else nowhere)


def _next(file: Path, done: LocalRun) -> Group:
    """Return what to type next."""
    result = Path(output_path(done.report.uri)).relative_to(file.parent.resolve())
    folder, found = (shlex.quote(str(path)) for path in (file.parent, file.parent / result))
    lines = {
        f"mopt demo {folder} --open": "the report: pictures, and why each form lost",
        f"mopt run {folder}/{file.name} --output {folder}/output": (
            f"again, once gates, objective or variants in {file.name} are others"
        ),
        f"mopt export {found} --as files -o {folder}/served": "what mopt serve loads",
        "mopt init model.pt2 -o my-model.yaml": "a resource for a model of yours, for mopt run",
    }
    rows = [Text("\nnext:")]
    for command, why in lines.items():
        rows.append(Text(f"  {command}", no_wrap=True, overflow="ignore"))
        rows.append(Text(f"      {why}", style="dim"))
    return Group(*rows)
