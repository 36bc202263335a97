"""Scales: where values lie, and round ticks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_optimizer.stages.report.page.axes import Axis, around, from_zero

VALUES = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=12)


@given(VALUES)
def test_every_value_and_tick_lies_on_the_axis(values: list[float]) -> None:
    for axis in (from_zero(values), around(values)):
        ticks = axis.ticks()
        assert all(0 <= axis.share(value) <= 1 for value in values)
        assert all(-1e-6 <= tick.share <= 1 + 1e-6 for tick in ticks)
        assert [t.share for t in ticks] == sorted(t.share for t in ticks)
        assert ticks


def test_near_values_start_at_zero() -> None:
    axis = from_zero([1.0, 4.0])
    assert (axis.low, axis.logarithmic) == (0.0, False)
    assert [tick.text for tick in axis.ticks()] == ["0", "1", "2", "3", "4"]


def test_far_values_are_logarithmic() -> None:
    axis = from_zero([1.0, 100.0])
    assert axis.logarithmic
    assert axis.share(10.0) - axis.share(1.0) == pytest.approx(axis.share(100.0) - axis.share(10.0))
    assert [tick.text for tick in axis.ticks()] == ["1", "2", "5", "10", "20", "50", "100"]


def test_values_outside_are_held_at_the_ends() -> None:
    assert (Axis(0, 10).share(-5), Axis(0, 10).percent(200)) == (0.0, "100.00%")


def test_all_zero_has_an_axis() -> None:
    assert from_zero([0.0]).share(0.0) == 0.0
