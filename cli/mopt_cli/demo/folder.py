"""The folder of `mopt demo`: made once, whole or not at all."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from mopt_cli._errors import CliError, ExitCode
from mopt_cli.progress import OnEvent
from mopt_cli.running import run_logged

from .making import RESOURCE


def is_made(folder: Path) -> bool:
    """Return whether the example is in a folder; False where it may be made there.

    Raises:
        CliError: Something else is there.
    """
    if (folder / RESOURCE).is_file():
        return True
    if folder.is_dir() and not any(folder.iterdir()):
        return False
    if folder.exists():
        raise CliError(f"{folder} holds something else than the demo: give another FOLDER")
    return False


def make(folder: Path, on_event: OnEvent, *, stderr: IO[Any] | None) -> None:
    """Make the example in a folder, which appears whole; on any exception nothing is left.

    Args:
        folder: Does not exist, or is empty.
        stderr: Gets what libraries print; None is ours.

    Raises:
        CliError: It cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".mopt-demo-") as place:
            made = Path(place) / "made"
            made.mkdir()
            command = [sys.executable, "-P", "-m", "mopt_cli.demo.making", str(made)]
            status = run_logged(command, "demo", on_event, stderr=stderr)
            if status:
                raise CliError(
                    f"the example could not be made: its process ended with {status}; "
                    "mopt demo --verbose shows why",
                    ExitCode.FAILED,
                )
            made.replace(folder)
    except OSError as error:
        raise CliError(f"{folder} cannot be made: {error}", ExitCode.FAILED) from error
