"""What a probe leaves out."""

from __future__ import annotations

import pytest

from mopt_optimizer.timing.probe import HOPELESS, Bar, lower, objection

MS = 1_000_000


@pytest.mark.parametrize(
    ("bar", "fp32", "expected"),
    [
        (None, {"a": 5, "b": 3}, Bar("b", 3)),
        (Bar("old", 4), {"a": 5}, Bar("old", 4)),
        (Bar("old", 4), {"a": 4}, Bar("old", 4)),
        (Bar("old", 4), {"a": 3}, Bar("a", 3)),
    ],
)
def test_the_bar_is_the_fastest_fp32_so_far(
    bar: Bar | None, fp32: dict[str, int], expected: Bar
) -> None:
    assert lower(bar, fp32) == expected


def test_three_times_as_slow_may_stay_and_slower_may_not() -> None:
    bar = Bar("openvino-fp32", 10 * MS)
    limit = int(HOPELESS * bar.ns)
    assert objection(limit, bar, "opt") is None
    words = objection(limit + MS, bar, "opt")
    assert words == (
        "probed at 31 ms a call at point opt, openvino-fp32 at 10 ms: more than 3 times as long"
    )
