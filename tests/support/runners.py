"""Models opened by a runtime, in the test's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.runtimes import Opening, Runner, open_runner


def opened(
    runtime: Runtime, precision: Precision, path: Path, threads: int = 1, **options: Any
) -> Runner:
    """Return what open_runner returns for an Opening of these."""
    fields = {"runtime": runtime, "precision": precision, "path": path, "threads": threads}
    return open_runner(Opening.model_validate(fields | options))
