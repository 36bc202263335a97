"""Reading zip archives that may be damaged in any place."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from mopt_optimizer.errors import ModelError

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    *(RuntimeError, ValueError, OverflowError),
    # A place outside of the file. That the disk is full is told apart where it is written to.
    OSError,
)


@contextmanager
def zip_errors(what: str) -> Iterator[None]:
    """Turn what zipfile raises for a damaged archive into a ModelError.

    Args:
        what: The kind of file, for the message.
    """
    try:
        yield
    except _DAMAGE as error:
        raise ModelError(f"damaged {what}: {str(error)[:200]}") from error
