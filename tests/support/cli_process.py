"""Types of tests/cli's fixtures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Mopt = Callable[..., "subprocess.CompletedProcess[str]"]
