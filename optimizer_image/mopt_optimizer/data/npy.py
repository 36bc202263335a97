"""Arrays as .npy files: how they pass between processes. Nothing is ever unpickled."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import DataError
from mopt_optimizer.store.writing import disk_errors

NUMBERS = "biuf"
# Outputs may be complex, or text.
_PLAIN = NUMBERS + "cSU"


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array; one of plain values, never of objects.

    numpy.save would hide a full disk: its own error carries no errno.

    Raises:
        DiskError: No space left.
    """
    contiguous = np.asarray(array, order="C")
    with disk_errors(str(path)), path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(contiguous)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(contiguous.data)


def load_array(path: Path) -> NDArray[Any]:
    """Read what save_array wrote.

    Raises:
        DataError: Not one array of plain values.
        OSError
    """
    with path.open("rb") as file:
        return array_in(file, path.name)


def array_in(file: IO[bytes], name: str) -> NDArray[Any]:
    """Read an open file that save_array wrote, in this process or in another one.

    Raises:
        DataError: Not one array of plain values.
    """
    try:
        size = os.fstat(file.fileno()).st_size
        return read_array(name, file, size, most_bytes=size, kinds=_PLAIN)
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError) as error:
        raise DataError(f"{name} holds no array: {error}") from error


def read_array(
    where: str, stream: IO[bytes], size: int, *, most_bytes: int, kinds: str = NUMBERS
) -> NDArray[Any]:
    """Read an array whose header promises what the stream holds, and no more.

    Args:
        where: What errors call it.
        size: Bytes in the stream.
        most_bytes: Largest array that is taken.
        kinds: numpy's letters of the types that are taken.

    Raises:
        ValueError, EOFError: Not an array in numpy's format, or truncated.
        DataError: Objects, or too large.
    """
    version = np.lib.format.read_magic(stream)
    with warnings.catch_warnings():
        # Python's parser and numpy warn of odd headers; what they make of them is checked below.
        warnings.simplefilter("ignore")
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"array format {version}; 1.0 and 2.0 are read")
    if dtype.hasobject or dtype.names is not None or dtype.kind not in kinds:
        raise DataError(f"{where}: {dtype} values; give plain numbers, nothing is unpickled")
    promised, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if promised > most_bytes:
        raise DataError(f"{where}: {promised} bytes, more than the {most_bytes} taken")
    if promised != held:
        raise ValueError(f"{held} bytes of values instead of {promised}")
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
