"""A real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registry import Registry, running_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry") as running:
        yield running
