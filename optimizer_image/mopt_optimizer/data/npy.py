"""Arrays as .npy files: how they pass between the stage and its variants' processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.store.writing import disk_errors


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array; one of numbers, never of objects.

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
    """Read an array; never unpickles."""
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    return array
