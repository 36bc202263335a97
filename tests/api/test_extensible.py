"""Enumerations that an extension adds a value to."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from mopt_api.enums import Runtime
from mopt_api.extensible import ExtensibleEnum


class Color(ExtensibleEnum):
    """A set of its own, so that no test sees another's additions."""

    RED = "Red"


def test_a_value_that_nobody_added_is_refused() -> None:
    with pytest.raises(ValueError, match="Blue"):
        Color("Blue")
    with pytest.raises(ValidationError):
        TypeAdapter(Color).validate_python("Blue")


def test_an_added_value_is_one_member_everywhere() -> None:
    green = Color.add("Green")
    assert green is Color("Green") is Color.add("Green")
    assert TypeAdapter(Color).validate_json('"Green"') is green
    assert TypeAdapter(Color).dump_json(green) == b'"Green"'
    assert {green: 1}[Color("Green")] == 1
    assert (str(green), green.value, green == "Green") == ("Green", "Green", True)


def test_a_member_is_added_to_its_own_set_alone() -> None:
    Color.add("Violet")
    with pytest.raises(ValueError, match="Violet"):
        Runtime("Violet")
    assert Color.add("Red") is Color.RED
    assert list(Color) == [Color.RED]
