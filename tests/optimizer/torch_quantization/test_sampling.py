"""Calibration data of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mopt_api.inputs import ImageTransform
from mopt_optimizer.errors import CalibrationError, DataError
from mopt_optimizer.torch_quantization.sampling import samples

pytestmark = pytest.mark.optimizer

ONE = torch.ones(2, 3)


def _shapes(data: Any, names: tuple[str, ...] = ("x",), **options: Any) -> list[list[int]]:
    values = {"limit": None, "required": len(names), "images": ImageTransform(), **options}
    limit, images = values.pop("limit"), values.pop("images")
    return [[*a.shape] for s in samples(data, names, images, limit, **values) for a in s]


def _generator() -> Iterator[torch.Tensor]:
    yield from (ONE, ONE)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (ONE, 1),
        (ONE.numpy(), 1),
        ({"x": ONE}, 1),
        ([ONE, ONE.numpy()], 2),
        ([(ONE, torch.tensor([1, 2]))], 1),  # an image and its label
        ([[ONE]], 1),
        ([{"x": ONE}] * 3, 3),
        (_generator(), 2),
        (DataLoader(TensorDataset(torch.ones(4, 3), torch.ones(4)), batch_size=2), 2),
    ],
)
def test_kinds(data: Any, count: int) -> None:
    assert _shapes(data) == [[2, 3]] * count


def test_two_inputs_by_name_and_by_position() -> None:
    other = torch.ones(1, 1)
    assert _shapes([{"b": other, "a": ONE}, (ONE, other)], ("a", "b")) == [[2, 3], [1, 1]] * 2


def test_an_optional_input_is_given_by_name_only() -> None:
    assert _shapes([(ONE, ONE), {"x": ONE, "mask": ONE}], ("x", "mask"), required=1) == [[2, 3]] * 3


def test_the_limit_leaves_the_rest_unread() -> None:
    def endless() -> Iterator[torch.Tensor]:
        while True:
            yield ONE

    assert len(_shapes(endless(), limit=3)) == 3


def test_a_folder_of_images(photographs: Path) -> None:
    images = ImageTransform(resize=[10, 12])
    assert _shapes(photographs, images=images) == [[1, 3, 10, 12]] * 4
    assert _shapes(str(photographs), images=images, limit=2) == [[1, 3, 10, 12]] * 2


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"broken\.png"):
        _shapes(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no calibration samples"),
        (iter(()), "no calibration samples"),
        (7, "calibration data is a int"),
        (["text"], "sample 0, x is a str"),
        ([ONE, None], "sample 1, x is a NoneType"),
        ([{"y": ONE}], r"sample 0 names \['y'\]; the inputs are x"),
        ([{}], "sample 0 is empty"),
        ([()], "sample 0 is empty"),
        ([np.array(["a"])], "is an array of <U1"),
        ("/no/such/folder", "is no folder of calibration images"),
    ],
)
def test_refusals(data: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        _shapes(data)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(CalibrationError, match="lacks the input 'a'"):
        _shapes([{"b": ONE}], ("a", "b"))


def test_a_folder_without_images_or_for_two_inputs(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no images under"):
        _shapes(tmp_path)
    with pytest.raises(CalibrationError, match="the model has 2: a, b"):
        _shapes(tmp_path, ("a", "b"))
