"""`mopt init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from mopt_cli._errors import CliError, ExitCode
from mopt_cli.extras import require_optimizer
from mopt_cli.options import FormatHint, ModelArgument, shapes_of, types_of
from mopt_cli.output import note
from mopt_cli.resources import checked_spec

from .inspect import describe


def init(
    model: ModelArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Omitted, standard output.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="NAME:SHAPE where the file has none, such as image:1x3x128x128; of another "
            "type than float32 ids:1x64:int64.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="s3://BUCKET or s3://BUCKET/PREFIX, where models/, data/ and optimized/ are."
        ),
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Calibration data: s3://BUCKET/PREFIX/.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option(help="Evaluation data: s3://BUCKET/PREFIX/.")
    ] = None,
    model_format: FormatHint = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries print.")
    ] = False,
) -> None:
    """Write a commented ModelOptimization for a model file."""
    if not model.is_file():
        raise CliError(f"{model} is not a file")
    if output is not None and output.exists() and not force:
        raise CliError(f"{output} exists; give another name or --force")
    require_optimizer("init")
    from mopt_cli.initializing import PLACEHOLDER, Places, resource_name, resource_text
    from mopt_optimizer.digests import file_digest

    shapes, types = shapes_of(shape), types_of(shape)
    description = describe(
        model, model_format, run=True, shapes=shapes, types=types, verbose=verbose
    )
    text = resource_text(
        description,
        name=resource_name(model.stem),
        file_name=model.name,
        sha256=file_digest(model).removeprefix("sha256:"),
        shapes=shapes,
        places=Places(store and store.rstrip("/"), calibration, evaluation),
    )
    # What was written must pass check: a model may have names that the API does not take.
    checked_spec(yaml.safe_load(text)["spec"], model)
    if output is None:
        print(text, end="")
        return
    _write(text, output)
    edit = f"edit the lines marked {PLACEHOLDER}, then run" if store is None else "now run"
    note(f"wrote {output}; {edit}: mopt check {output}")


def _write(text: str, output: Path) -> None:
    from mopt_optimizer.store.writing import replacing

    try:
        with replacing(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"{output} cannot be written: {error}", ExitCode.FAILED) from error
