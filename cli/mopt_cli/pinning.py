"""`mopt pin` and `mopt rollback --file`: a selection's name, written into a file of Git's."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mopt_api.text import one_line, plain

from ._errors import CliError, ExitCode
from .output import Format, emit
from .selections import PinAs
from .yaml_edit import Wanted, with_value
from .yaml_path import parse_path, path_text

_MAX_BYTES = 16 * 1024 * 1024

AsOption = Annotated[
    PinAs | None,
    typer.Option(
        "--as",
        help="What is written: reference, REPOSITORY@DIGEST of what was published (default); oci, "
        "the same as oci://; digest, its digest alone; uri, the file in the store; artifact, the "
        "file's digest.",
    ),
]
KindOption = Annotated[
    str | None, typer.Option(help="Kind of the document, where the file has several.")
]
DocumentNameOption = Annotated[
    str | None,
    typer.Option("--name", help="metadata.name of the document, where the file has several."),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Change nothing; exit status 1 where the file is behind.")
]


@dataclass(frozen=True)
class Place:
    """Where a value is written.

    Attributes:
        path: As the user gave it.
        check: Nothing is written.
    """

    file: Path
    path: str
    wanted: Wanted
    check: bool = False


def pin(place: Place, value: str, form: Format) -> None:
    """Write a value, or compare with what is there, and print what became of it.

    Raises:
        CliError: The file cannot be read, changed or written.
        typer.Exit: Of --check: the file has another value.
    """
    steps = parse_path(place.path)
    text = _read(place.file)
    edit = with_value(text, steps, value, place.wanted, str(place.file))
    differs = edit.text != text
    if differs and not place.check:
        _write(place.file, edit.text)
    where = f"{place.file}:{edit.line}: {path_text(steps)}"
    data = {
        "file": str(place.file),
        "line": edit.line,
        "path": path_text(steps),
        "before": edit.before,
        "value": value,
        "equal": not differs,
        "written": differs and not place.check,
    }
    emit(data, _shown(where, edit.before, value, differs=differs, check=place.check), form)
    if differs and place.check:
        raise typer.Exit(ExitCode.FAILED)


def _shown(where: str, before: str | None, value: str, *, differs: bool, check: bool) -> Text:
    if not differs:
        said = f"{where} is {value}"
    elif check:
        said = f"{where} is {before or 'empty'}, behind {value}"
    else:
        said = f"{where}: {before or 'empty'} -> {value}"
    return Text(one_line(said), no_wrap=True, overflow="ignore")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise CliError(f"{file} is larger than {_MAX_BYTES // 2**20} MiB")
        # Line breaks stay as they are.
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file} cannot be read: {plain(str(error))}") from error


def _write(file: Path, text: str) -> None:
    """Replace a file's content whole, or not at all; a link stays one."""
    real = Path(os.path.realpath(file))
    temporary = None
    try:
        number, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name[:100]}.")
        temporary = Path(name)
        with os.fdopen(number, "wb") as opened:
            opened.write(text.encode())
        shutil.copymode(real, temporary)
        temporary.replace(real)
    except OSError as error:
        raise CliError(f"{file} cannot be written: {plain(str(error))}", ExitCode.FAILED) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
