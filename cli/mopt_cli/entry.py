"""The console script: says what to install where the extra `cli` is missing."""

from __future__ import annotations

import sys

_NEEDED = {"typer", "rich", "yaml"}


def main() -> None:
    """Run the command line; ends the process."""
    try:
        from .main import run
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(f"mopt: {error.name} is not installed: pip install 'mopt[cli]'", file=sys.stderr)
        sys.exit(1)
    sys.exit(run())
