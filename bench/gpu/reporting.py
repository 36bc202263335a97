"""A plugin of pytest that writes a row for each test as it ends: `-p bench.gpu.reporting`.

pytest's own reports come at its end, which a time box may cut off.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .rows import Writer

ROWS_VARIABLE = "MOPT_GPU_ROWS"
"""Names the file."""
_REASON_BYTES = 500


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write how a test ended; of one that passed, only the call itself."""
    path = os.environ.get(ROWS_VARIABLE)
    if path is None or (report.passed and report.when != "call"):
        return
    Writer(Path(path))(
        "test", name=report.nodeid, state=report.outcome, reason=reason(report)[:_REASON_BYTES]
    )


def reason(report: pytest.TestReport) -> str:
    """Return why a test did not pass; empty where it did."""
    if report.passed:
        return ""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)
