"""Removes folders that a child worked in, whatever it left there."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def temporary_folder(parent: Path | None = None, *, prefix: str) -> Iterator[Path]:
    """Yield a new folder, which is removed at the end.

    Args:
        parent: Where it lies; None for the system's place.
    """
    folder = Path(mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder that nobody works in any more; nothing happens where there is none.

    Folders may lie in each other deeper than any path is long, or than shutil.rmtree() recurses,
    and may be closed to their owner: each is moved up to the first one, and emptied there.

    Raises:
        OSError: The file system refuses.
    """
    try:
        top = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return
    names = (f".{secrets.token_hex(8)}-{number}" for number in itertools.count())
    try:
        while folders := _without_files(top):
            for name in folders:
                _move_up(name, top, names)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()


def _without_files(folder: int) -> list[str]:
    """Remove the files in a folder; return the names of the folders in it."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            os.chmod(name, 0o700, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _move_up(name: str, top: int, names: Iterator[str]) -> None:
    """Empty a folder: its files go, its folders become those of the top."""
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner in _without_files(folder):
            os.rename(inner, next(names), src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
