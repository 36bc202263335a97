"""Clones of the commit that is checked out, as different as two machines' are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from release.source import Commit, export, head
from release.wheels import build

ROOT = Path(__file__).resolve().parents[2]


def clone(target: Path) -> Path:
    """Clone this checkout's commit, without what no commit holds."""
    subprocess.run(["git", "clone", "-q", ROOT, target], check=True)
    return target


def built(clone: Path, *, mask: int, touched: float, environ: dict[str, str]) -> Path:
    """Return a folder with wheel and sdist of a clone, and its files in `source` beside it.

    Args:
        mask: Of the permissions that its files get.
        touched: When they were written, as far as they say.
        environ: Variables of the build.
    """
    before = os.umask(mask)
    try:
        source = export(clone, head(clone), clone.parent / "source")
        for path in source.rglob("*"):
            os.utime(path, (touched, touched))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            build(source, clone.parent / "made", head(clone).epoch)
    finally:
        os.umask(before)
    return clone.parent / "made"


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two builds of one commit."""
    one = clone(tmp_path_factory.mktemp("one") / "mopt")
    other = clone(tmp_path_factory.mktemp("another") / "of" / "a-longer-name")
    return (
        built(one, mask=0o022, touched=1e9, environ={"TZ": "UTC", "PYTHONHASHSEED": "1"}),
        built(other, mask=0o077, touched=2e9, environ={"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2"}),
    )


@pytest.fixture
def commit() -> Commit:
    return Commit("0123456789abcdef0123456789abcdef01234567", 1_796_000_000)
