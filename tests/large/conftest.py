"""Where the figures of the large runs go."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --record."""
    parser.addoption("--record", type=Path, help="write time and peak memory to this file")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Path | None:
    """The file that --record names, relative to the checkout; None without it."""
    named: Path | None = request.config.getoption("--record", default=None)
    return named
