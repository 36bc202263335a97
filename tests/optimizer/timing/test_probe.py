"""What a probe leaves out."""

from __future__ import annotations

import pytest

from mopt_optimizer.timing.probe import HOPELESS, Best, best_of, hopeless_because

MS = 1_000_000


@pytest.mark.parametrize(
    ("bar", "fp32", "expected"),
    [
        (None, {"a": 5, "b": 3}, Best("b", 3)),
        (Best("old", 4), {"a": 5}, Best("old", 4)),
        (Best("old", 4), {"a": 4}, Best("old", 4)),
        (Best("old", 4), {"a": 3}, Best("a", 3)),
    ],
)
def test_the_bar_is_the_fastest_fp32_so_far(
    bar: Best | None, fp32: dict[str, int], expected: Best
) -> None:
    assert best_of(bar, fp32) == expected


def test_three_times_as_slow_may_stay_and_slower_may_not() -> None:
    bar = Best("openvino-fp32", 10 * MS)
    limit = int(HOPELESS * bar.ns)
    assert hopeless_because(limit, bar, "opt") is None
    words = hopeless_because(limit + MS, bar, "opt")
    assert words == (
        "probed at 31 ms a call at point opt, openvino-fp32 at 10 ms: more than 3 times as long"
    )
