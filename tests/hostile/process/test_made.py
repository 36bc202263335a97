"""What a parent takes from a child's folder: by any name that a hostile child may answer with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mopt_optimizer.errors import ModelError
from mopt_optimizer.sandbox import copy_made, made_file, open_made

NAMES = {
    "nothing": "",
    "the-folder": ".",
    "above": "../secret",
    "above-later": "inner/../../secret",
    "absolute": "{outside}/secret",
    "a-link": "link",
    "below-a-link": "links/secret",
    "a-folder": "inner",
    "a-pipe": "pipe",
    "a-second-name": "second",
    "not-there": "missing",
    "below-a-file": "file/x",
    "too-long": "x" * 5000,
    "too-deep": "x/" * 5000 + "x",
    "half-a-character": "\udcff",
    "own-environment": "/proc/self/environ",
    "two-slashes": "/{outside}/secret",
    "two-slashes-to-own-environment": "//proc/{pid}/environ",
    "nul": "file\0",
}

Take = Callable[[Path, str], object]
WAYS: dict[str, Take] = {
    "open": lambda folder, name: open_made(folder, name).close(),
    "path": made_file,
    "copy": lambda folder, name: copy_made(folder, name, folder.parent / "copy"),
}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A child's folder with whatever could lie there, and a file outside."""
    folder = tmp_path / "made"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "file").write_text("made")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "links").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    os.link(folder / "file", folder / "second")
    (folder / "good").write_text("made")
    return folder


CASES = [pytest.param(way, name, id=f"{way}-{name}") for way in WAYS for name in NAMES]


@pytest.mark.parametrize(("way", "name"), CASES)
def test_nothing_else_is_taken(made: Path, way: str, name: str) -> None:
    told = NAMES[name].format(outside=made.parent, pid=os.getpid())
    with pytest.raises(ModelError, match="made no file"):
        WAYS[way](made, told)
    assert not (made.parent / "copy").exists()


@pytest.mark.parametrize("way", WAYS)
def test_what_was_made_is_taken(made: Path, way: str) -> None:
    WAYS[way](made, "good")


def test_arrays_of_others_are_not_removed(made: Path) -> None:
    """The outputs of a variant are removed once they are read."""
    from mopt_optimizer.stages.measure import process

    other = made.parent / "other.npy"
    np.save(other, np.zeros(2))
    with pytest.raises(ModelError):
        process._taken(made, f"/{other}")
    assert other.exists()
