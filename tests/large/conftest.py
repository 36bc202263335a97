"""What the large runs share: the room that they need, and where their figures go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

MIN_FREE_DISK = 24 * 10**9
MIN_FREE_MEMORY = 14 * 10**9
_INTRODUCTION = """# A model above 2 GB

10 linear layers of 7936 x 7936 with ReLU, float32, 2.52 GB; written by `make test-large`.
"""


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":") for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


@pytest.fixture(autouse=True)
def _room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    if free < MIN_FREE_DISK or _available_memory() < MIN_FREE_MEMORY:
        pytest.skip(f"needs {MIN_FREE_DISK} bytes of disk and {MIN_FREE_MEMORY} of memory free")


class Record:
    """The file that --record names: one section per test, the others' kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, title: str, text: str) -> None:
        """Put a section in the place of the one of that title, or at the end."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        old = self._path.read_text() if self._path.exists() else ""
        parts = [part.partition("\n") for part in old.split("\n## ")[1:]]
        sections = {name: body.strip() for name, _, body in parts} | {title: text.strip()}
        bodies = [f"## {name}\n\n{body}\n" for name, body in sections.items()]
        self._path.write_text("\n".join([_INTRODUCTION, *bodies]))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """The file that --record names, relative to the checkout; goes nowhere without it."""
    return Record(request.config.getoption("--record"))
