"""Arrays keep their bits in files; a full disk is told as such."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_optimizer.data.npy import load_array, save_array
from mopt_optimizer.errors import DataError, DiskError

SHAPES: list[tuple[int, ...]] = [(), (0, 3), (2, 3, 4)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "float16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_comes_back_as_it_was(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(0).random(shape).astype(dtype)
    save_array(tmp_path / "a.npy", np.asarray(array))
    again = load_array(tmp_path / "a.npy")
    assert np.array_equal(again, array)
    assert again.dtype == array.dtype


def test_strided_arrays_come_back_in_order(tmp_path: Path) -> None:
    array: NDArray[Any] = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    save_array(tmp_path / "a.npy", array)
    assert np.array_equal(load_array(tmp_path / "a.npy"), array)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told() -> None:
    with pytest.raises(DiskError, match="/dev/full"):
        save_array(Path("/dev/full"), np.zeros(1_000_000, np.float32))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="nothing is unpickled"):
        load_array(tmp_path / "a.npy")
