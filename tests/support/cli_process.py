"""What tests/cli shares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Mopt = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environ() -> dict[str, str]:
    """Return the environment without anybody's store or colours."""
    hidden = ("AWS", "MOPT_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


def run_mopt(
    folder: Path, *arguments: object, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mopt_cli.main", *map(str, arguments)],
        cwd=folder,
        env=clean_environ() | environ,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
