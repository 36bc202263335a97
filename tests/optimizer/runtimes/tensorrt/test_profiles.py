"""Shapes: what a user gives, what the model fixes, and what an engine then takes."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_optimizer.errors import DimensionError, ProfileViolation
from mopt_optimizer.runtimes.tensorrt.profiles import ShapeProfile, Tensor, profiles_for

IMAGE = Tensor("image", "float32", (-1, 3, -1, -1))
MASK = Tensor("mask", "float32", (1, 4))
THREE = ((1, 3, 16, 16), (4, 3, 64, 64), (8, 3, 128, 128))


def test_three_shapes_are_smallest_most_frequent_largest() -> None:
    found = profiles_for([IMAGE], {"image": THREE})
    assert found == {"image": ShapeProfile(*THREE)}


def test_one_shape_is_all_three() -> None:
    shape = (2, 3, 64, 64)
    assert profiles_for([IMAGE], {"image": shape})["image"] == ShapeProfile(shape, shape, shape)


def test_lists_are_taken_as_tuples() -> None:
    low, best, high = (list(shape) for shape in THREE)
    found = profiles_for([IMAGE], {"image": (low, best, high)})
    assert found == {"image": ShapeProfile(*THREE)}


def test_an_input_without_free_axes_needs_no_shape() -> None:
    assert profiles_for([MASK], {})["mask"] == ShapeProfile((1, 4), (1, 4), (1, 4))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, r"input image has free axes, \(-1, 3, -1, -1\): give its shape"),
        ({"picture": THREE}, "'picture' is no input of the model; its inputs are image"),
        ({"image": (1, 3, 64)}, "input image: 3 sizes for 4 axes"),
        ({"image": (1, 4, 64, 64)}, "input image, axis 1: the model fixes it to 3, not 4"),
        ({"image": ((1, 2, 8, 8), (1, 3, 8, 8), (1, 4, 8, 8))}, "fixes it to 3, not 2 to 4"),
        ({"image": (THREE[2], THREE[1], THREE[0])}, "axis 0: sizes 8, 4, 1 are not in the order"),
        ({"image": (0, 3, 64, 64)}, "axis 0: sizes 0, 0, 0"),
        ({"image": THREE[:2]}, "neither a shape"),
        ({"image": (THREE[0], THREE[1], (8, 3, 128))}, "neither a shape"),
        ({"image": "1x3x64x64"}, "'1x3x64x64' is neither a shape"),
        ({"image": 64}, "64 is neither a shape"),
        ({"image": ()}, r"\(\) is neither a shape|0 sizes for 4 axes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DimensionError, match=words):
        profiles_for([IMAGE], given)


@pytest.mark.parametrize("shape", [THREE[0], THREE[2], (3, 3, 17, 128)])
def test_shapes_within_the_profile_are_taken(shape: tuple[int, ...]) -> None:
    ShapeProfile(*THREE).check("image", shape)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((9, 3, 64, 64), "input image, axis 0: 9 is not 1 to 8"),
        ((1, 3, 64, 15), "input image, axis 3: 15 is not 16 to 128"),
        ((1, 1, 64, 64), "input image, axis 1: 1 is not 3"),
        ((1, 3, 64), r"input image has shape \(1, 3, 64\); the engine takes 4 axes"),
    ],
)
def test_shapes_outside_the_profile_name_the_axis(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ProfileViolation, match=words):
        ShapeProfile(*THREE).check("image", shape)
