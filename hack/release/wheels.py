"""Wheel and sdist."""

from __future__ import annotations

import sys
from pathlib import Path

from .commands import run


def build(source: Path, output: Path, epoch: int) -> None:
    """Build wheel and sdist of a commit's files into a folder: the same bytes for the same commit.

    By the hatchling that requirements/dev.txt locks: the next one may order or name things anew.

    Raises:
        ReleaseError: The build failed.
    """
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", output],
        cwd=source,
        environment={"SOURCE_DATE_EPOCH": str(epoch), "PYTHONDONTWRITEBYTECODE": "1"},
    )
