"""What repeated measurements say of the winner and of the ratios."""

from __future__ import annotations

import io

from repeat import Measured, Spread, report, spreads
from rich.console import Console

RUNS = [
    Measured("a", {"a": 4.0, "b": 2.0}, unstable=False, seconds=10),
    Measured("a", {"a": 5.0, "b": 2.0}, unstable=True, seconds=10),
    Measured("b", {"b": 2.0}, unstable=False, seconds=10),
]


def test_the_spread_is_relative_to_the_median_over_the_runs_that_measured_it() -> None:
    found = spreads(RUNS)
    assert list(found) == ["a", "b"]
    assert found["a"] == Spread(runs=2, smallest=4.0, median=4.5, largest=5.0)
    assert found["a"].relative == 1.0 / 4.5
    assert found["b"].relative == 0


def test_every_run_and_every_winner_is_printed() -> None:
    printed = io.StringIO()
    report(RUNS, Console(file=printed, width=120))
    text = printed.getvalue()
    assert "winners: a 2 of 3, b 1 of 3" in text
    assert text.count("yes") == 1
    assert "22.2%" in text
