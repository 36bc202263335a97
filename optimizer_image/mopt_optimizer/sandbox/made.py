"""Files that a child made in its folder: taken without following it elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import IO

from mopt_optimizer.errors import ModelError
from mopt_optimizer.store.writing import disk_errors

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_made(folder: Path, name: str) -> IO[bytes]:
    """Open a file that a child says it made in its folder; the child may still be at work.

    Raises:
        ModelError: It lies elsewhere, is or passes a link, is no regular file, or is not there: a
            child that a model took over may say anything.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise _not_made(name)
    try:
        return _opened(folder, path.parts)
    except (OSError, ValueError) as error:  # ValueError: no name that the kernel takes.
        raise _not_made(name) from error


def made_file(folder: Path, name: str) -> Path:
    """Return the path of a file that an ended child says it made in its folder.

    Raises:
        ModelError: As open_made.
    """
    open_made(folder, name).close()
    return folder / name


def copy_made(folder: Path, name: str, target: Path) -> Path:
    """Copy a file that a child made to where the child cannot change it; return the copy.

    Raises:
        ModelError: As open_made.
        DiskError: No space left.
    """
    with open_made(folder, name) as made, disk_errors(str(target)), target.open("wb") as copy:
        shutil.copyfileobj(made, copy, 1024 * 1024)
    return target


def _opened(folder: Path, parts: tuple[str, ...]) -> IO[bytes]:
    where = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inside = os.open(part, _FOLDER, dir_fd=where)
            os.close(where)
            where = inside
        file = os.fdopen(os.open(parts[-1], _FILE, dir_fd=where), "rb")
    finally:
        os.close(where)
    found = os.fstat(file.fileno())
    # A second name may be one that someone else writes to.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        file.close()
        raise FileNotFoundError(parts[-1])
    return file


def _not_made(name: str) -> ModelError:
    return ModelError(
        f"the process that opened the model made no file {name[:200]!r} in its folder"
    )
