"""A process's part of a device's memory is what changes while it works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mopt_optimizer.machine.device_memory import DeviceMeter


def meter(*used: int | None) -> DeviceMeter:
    readings: Iterator[int | None] = iter(used)
    return DeviceMeter(lambda: next(readings))


def test_what_others_take_between_is_not_counted() -> None:
    found = meter(100, 150, 900, 920)
    assert found.during(lambda: "opened") == "opened"
    assert found.peak_bytes == 50
    found.during(lambda: None)
    assert found.peak_bytes == 70


def test_the_peak_stays_when_memory_is_given_back() -> None:
    found = meter(0, 80, 80, 30, 30, 60)
    for _ in range(3):
        found.during(lambda: None)
    assert found.peak_bytes == 80


def test_what_fails_is_counted_too() -> None:
    found = meter(0, 40)

    def work() -> None:
        raise KeyError("weights")

    with pytest.raises(KeyError, match="weights"):
        found.during(work)
    assert found.peak_bytes == 40


def test_nothing_is_known_where_the_driver_does_not_tell() -> None:
    found = meter(None, None, 10, None)
    found.during(lambda: None)
    found.during(lambda: None)
    assert found.peak_bytes is None
