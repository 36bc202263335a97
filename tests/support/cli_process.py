"""What tests/cli shares."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

Mopt = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environ() -> dict[str, str]:
    """Return the environment without anybody's store or colours."""
    hidden = ("AWS", "MOPT_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
