from __future__ import annotations

import pytest

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import DimensionError
from mopt_optimizer.opening.inputs import Axis, ModelInput, check_inputs, verified_sizes

IMAGE = InputSpec(name="image", shape=["batch", 3, "height", "width"])
DIMENSIONS = {
    "batch": DimensionRange(min=1, opt=2, max=8),
    "height": DimensionRange(min=32, opt=64, max=128, multiple_of=32),
    "width": DimensionRange(min=32, opt=64, max=128, multiple_of=32),
}


def _model(**changes: Axis) -> list[ModelInput]:
    axes = {
        "batch": Axis(symbol="s0"),
        "channels": Axis(size=3),
        "height": Axis(symbol="s1"),
        "width": Axis(symbol="s2"),
    }
    return [ModelInput("image", "float32", tuple((axes | changes).values()))]


def test_matching_inputs_give_the_specs_names() -> None:
    names = check_inputs(_model(), [IMAGE], DIMENSIONS)
    assert names == {"s0": "batch", "s1": "height", "s2": "width"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch": Axis(size=1)},
            r"axis 0 of input image is batch in the spec, fixed to 1 in the model; export",
        ),
        ({"channels": Axis(size=1)}, r"axis 1 of input image is 3 in the spec, fixed to 1"),
        (
            {"height": Axis(symbol="s1", minimum=64)},
            r"axis 2 of input image is height 32\.\.128 in the spec; the model takes 64 up",
        ),
        (
            {"height": Axis(symbol="s1", maximum=100)},
            r"axis 2 of input image is height 32\.\.128 in the spec; the model takes 100 down",
        ),
        ({"height": Axis(symbol="64*s1", multiple_of=64)}, r"multiples of 64: set multipleOf"),
        (
            {"width": Axis(symbol="s1")},
            r"axis 3 of input image is width in the spec, but the model ties it to height",
        ),
    ],
)
def test_difference_names_both_sides(change: dict[str, Axis], message: str) -> None:
    with pytest.raises(DimensionError, match=message):
        check_inputs(_model(**change), [IMAGE], DIMENSIONS)


@pytest.mark.parametrize(
    "axis",
    [
        Axis(symbol="s1", minimum=32, maximum=128),
        Axis(symbol="16*s1", multiple_of=16),
        Axis(symbol="32*s1", multiple_of=32),
        Axis(),
    ],
)
def test_limits_that_hold_are_taken(axis: Axis) -> None:
    check_inputs(_model(height=axis), [IMAGE], DIMENSIONS)


def test_number_for_a_dynamic_axis_is_taken_within_limits() -> None:
    spec = InputSpec(name="image", shape=[1, 3, 32, 32])
    check_inputs(_model(), [spec], {})
    with pytest.raises(DimensionError, match="axis 2 of input image is 32 in the spec"):
        check_inputs(_model(height=Axis(symbol="s1", minimum=64)), [spec], {})


def test_unknown_name_lists_the_models() -> None:
    spec = InputSpec(name="picture", shape=[1])
    with pytest.raises(DimensionError, match="no input 'picture'; it has image"):
        check_inputs(_model(), [spec], {})


def test_missing_input_is_named() -> None:
    model = [*_model(), ModelInput("mask", "float32", ())]
    with pytest.raises(DimensionError, match=r"spec\.inputs lacks the model's mask"):
        check_inputs(model, [IMAGE], DIMENSIONS)


def test_other_rank_is_named() -> None:
    spec = InputSpec(name="image", shape=["batch", 3])
    with pytest.raises(DimensionError, match="2 dimensions in the spec, 4 in the model"):
        check_inputs(_model(), [spec], DIMENSIONS)


def test_other_element_type_is_named() -> None:
    model = [ModelInput("image", "int64", _model()[0].axes)]
    with pytest.raises(DimensionError, match="float32 in the spec, int64 in the model"):
        check_inputs(model, [IMAGE], DIMENSIONS)


def test_every_dimension_is_verified_at_two_legal_sizes() -> None:
    found = verified_sizes([IMAGE], DIMENSIONS)
    for name, limits in DIMENSIONS.items():
        sizes = {sizes[name] for sizes in found}
        assert len(sizes) >= 2
        assert all(limits.min <= s <= limits.max for s in sizes)
        assert all(s % (limits.multiple_of or 1) == 0 for s in sizes)
    # Exchanged axes would go unnoticed at squares.
    assert any(sizes["height"] != sizes["width"] for sizes in found)
    assert any(sizes["batch"] >= 2 for sizes in found)


def test_large_opt_is_not_run() -> None:
    large = DIMENSIONS | {"height": DimensionRange(min=64, opt=8192, max=8192)}
    assert all(sizes["height"] < 8192 for sizes in verified_sizes([IMAGE], large))


def test_fixed_dimension_has_one_size() -> None:
    fixed = {"batch": DimensionRange(min=4, opt=4, max=4)}
    spec = InputSpec(name="image", shape=["batch", 3])
    assert verified_sizes([spec], fixed) == [{"batch": 4}]


def test_model_without_dimensions_is_verified_once() -> None:
    assert verified_sizes([InputSpec(name="image", shape=[1, 3])], {}) == [{}]
