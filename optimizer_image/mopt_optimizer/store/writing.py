"""Files written whole or not at all, and hashed as they are written."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mopt_optimizer.errors import DiskError

CHUNK_BYTES = 1024 * 1024


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk into DiskError; other errors pass.

    Raises:
        DiskError: ENOSPC or EDQUOT.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskError(f"no space left while writing {what}") from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside path that becomes path when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name[:100]}.{uuid.uuid4().hex}.part"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def hashed(chunks: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield the chunks, each taken into digest first."""
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Append chunks to a file.

    Raises:
        DiskError: The disk is full.
    """
    with disk_errors(str(path)), path.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
