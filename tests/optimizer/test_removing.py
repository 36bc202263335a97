"""Folders that a child worked in are removed, whatever it left there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mopt_optimizer.sandbox import remove, temporary_folder


def test_deep_broad_and_closed_folders_go(tmp_path: Path) -> None:
    folder, beside = tmp_path / "folder", tmp_path / "beside"
    folder.mkdir()
    beside.write_text("kept")
    at = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.symlink(beside, "link", dir_fd=at)
        os.mkdir("d" * 100, dir_fd=at)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    for number in range(2000):
        (folder / str(number)).mkdir()
    (folder / "1" / "closed").mkdir()
    (folder / "1" / "closed" / "file").touch()
    (folder / "1" / "closed").chmod(0o000)
    remove(folder)
    assert list(tmp_path.iterdir()) == [beside]
    assert beside.read_text() == "kept"


def test_no_folder_is_removed_already(tmp_path: Path) -> None:
    remove(tmp_path / "none")


def test_link_in_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(NotADirectoryError):
        remove(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()


def test_folder_goes_when_an_error_comes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="words"), temporary_folder(tmp_path, prefix="x-") as made:
        raise ValueError("words")
    assert not made.exists()
