"""The C++ compiler that torch.compile needs on a CPU."""

from __future__ import annotations

import os
import shutil
import subprocess

from .versions import COMPILER

_SECONDS = 30


def compiler_version(name: str | None = None) -> str | None:
    """Return the version of the compiler that Inductor would take; None where there is none.

    Args:
        name: Of its program; None for what the variable CXX names, else g++.
    """
    found = shutil.which(name or os.environ.get("CXX") or COMPILER)
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, "-dumpfullversion", "-dumpversion"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # There, but does not run: of no use.
        return None
    return done.stdout.strip() or None
