"""What a release is made of: a commit, and no other file of the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from release.errors import ReleaseError
from release.source import Commit, export, head

from .conftest import clone


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    return clone(tmp_path / "mopt")


def test_the_commit_is_named(cloned: Path) -> None:
    commit = head(cloned)
    assert len(commit.revision) == 40
    assert commit.stamp.endswith("Z")


@pytest.mark.parametrize("file", ["README.md", "new.txt"])
def test_what_is_not_committed_is_refused(cloned: Path, file: str) -> None:
    (cloned / file).write_text("changed")
    with pytest.raises(ReleaseError, match=rf"1 files differ from it, such as {file}"):
        head(cloned)


def test_what_git_ignores_is_left_out(cloned: Path, tmp_path: Path) -> None:
    (cloned / "crds" / "mopt_api" / "__pycache__").mkdir()
    (cloned / "crds" / "mopt_api" / "__pycache__" / "x.pyc").write_bytes(b"")
    files = export(cloned, head(cloned), tmp_path / "out")
    assert (files / "crds" / "mopt_api" / "version.py").is_file()
    assert not list(files.rglob("*.pyc"))


def test_a_folder_that_is_no_clone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="git status"):
        head(tmp_path)


def test_a_time_is_in_utc(commit: Commit) -> None:
    assert commit.stamp == "2026-11-30T00:53:20Z"
