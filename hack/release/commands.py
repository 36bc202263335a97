"""Commands of others, and what they say when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ReleaseError

_SAID = 2000


def run(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command and return its standard output.

    Raises:
        ReleaseError: It is not there, or failed; the message has the end of what it said.
    """
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words,
            cwd=cwd,
            env=os.environ | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ReleaseError(f"{words[0]} is not installed") from error
    if result.returncode:
        said = (result.stderr or result.stdout).strip()[-_SAID:]
        raise ReleaseError(f"`{' '.join(words[:6])}` ended with {result.returncode}: {said}")
    return result.stdout
