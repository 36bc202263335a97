"""Samples take the place of noise: at their own sizes, and fitted to the verified ones."""

from __future__ import annotations

import numpy as np

from mopt_api.inputs import AnyDimension, DerivedRange, DimensionRange, InputSpec
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.onnx_files.verified_inputs import smallest_inputs, verified_inputs
from mopt_optimizer.opening.inputs import MAX_VERIFIED_VALUES

IDS = InputSpec.model_validate({"name": "ids", "shape": ["batch", "length"], "dtype": "int64"})
MASK = InputSpec.model_validate({"name": "mask", "shape": ["batch", "total"]})
SIZES: dict[str, AnyDimension] = {
    "batch": DimensionRange(min=1, opt=2, max=4),
    "length": DimensionRange(min=2, opt=4, max=8),
    "total": DerivedRange.model_validate(
        {"min": 3, "opt": 5, "max": 9, "sumOf": ["length"], "plus": 1}
    ),
}


def sample(first: int, length: int) -> Inputs:
    return {
        "ids": np.arange(first, first + length).reshape(1, length),
        "mask": np.array([[1.0] * length + [0.0]], np.float32),
    }


def test_samples_are_fitted_to_each_size_and_taken_as_they_are() -> None:
    found = verified_inputs([IDS, MASK], SIZES, [sample(100, 3), sample(200, 6), sample(300, 7)])
    assert [(one.sizes, one.name) for one in found] == [
        ({"batch": 1, "length": 2, "total": 3}, ""),
        ({"batch": 2, "length": 4, "total": 5}, ""),
        ({"batch": 1, "length": 3, "total": 4}, "sample 1"),
        ({"batch": 1, "length": 6, "total": 7}, "sample 2"),
    ]
    assert found[0].inputs["ids"].tolist() == [[100, 101]]
    assert found[1].inputs["ids"].tolist() == [[100, 101, 102, 100], [200, 201, 202, 203]]
    assert found[2].inputs["ids"].tolist() == [[100, 101, 102]]


def test_a_sample_of_a_verified_size_is_taken_once() -> None:
    found = verified_inputs([IDS, MASK], SIZES, [sample(100, 2)])
    assert [one.sizes["length"] for one in found] == [2, 4]


def test_samples_that_take_long_are_cropped_only() -> None:
    image = InputSpec.model_validate({"name": "x", "shape": ["side", "side"]})
    sizes = {"side": DimensionRange(min=8, opt=2048, max=4096)}
    large = {"x": np.arange(2048.0**2, dtype=np.float32).reshape(2048, 2048)}
    assert large["x"].size > MAX_VERIFIED_VALUES
    assert [one.sizes["side"] for one in verified_inputs([image], sizes, [large])] == [8, 9]
    half = {"x": large["x"][:900, :900]}
    assert [one.name for one in verified_inputs([image], sizes, [half] * 2)] == ["", "", "sample 1"]


def test_the_corner_of_a_picture_is_not_all_that_is_seen() -> None:
    image = InputSpec.model_validate({"name": "x", "shape": ["side", "side"]})
    sizes = {"side": DimensionRange(min=2, opt=2, max=2)}
    framed = np.zeros((6, 6), np.float32)
    framed[2:4, 2:4] = [[1, 2], [3, 4]]
    found = smallest_inputs([image], sizes, [{"x": framed}])["x"]
    assert found.shape == (2, 2)
    assert len(np.unique(found)) > 1
    assert set(found.ravel()) <= {0, 1, 2, 3, 4}
    black = {"x": np.zeros((6, 6), np.float32)}
    assert not smallest_inputs([image], sizes, [black])["x"].any()


def test_without_samples_it_is_noise() -> None:
    found = verified_inputs([IDS, MASK], SIZES)
    assert [one.name for one in found] == ["", ""]
    assert set(found[1].inputs["ids"].ravel()) == {0, 1}
    assert np.array_equal(smallest_inputs([IDS, MASK], SIZES)["mask"], found[0].inputs["mask"])
