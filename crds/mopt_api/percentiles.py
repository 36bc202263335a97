"""From how many calls on a percentile is one, by MLPerf's rule for ending early. Pure."""

from __future__ import annotations

from functools import cache

from .enums import ObjectiveMetric

_CONFIDENCE = 0.99
_PERCENT = {ObjectiveMetric.LATENCY_P90: 90, ObjectiveMetric.LATENCY_P99: 99}


@cache
def calls_needed(percent: int) -> int:
    """Return the fewest calls that a percentile can be told from: 64 for p90, 662 for p99.

    Of so many the second largest lies below the true percentile with a probability below 1 %.
    Source: MLPerf's inference_rules.adoc, appendix on early stopping, with tolerance 0 and one
    call over.

    Args:
        percent: Above 50, below 100.
    """
    below, calls = percent / 100, 1
    while below**calls + calls * (1 - below) * below ** (calls - 1) > 1 - _CONFIDENCE:
        calls += 1
    return calls


def calls_for(metric: ObjectiveMetric) -> int:
    """Return from how many calls on an objective's metric can be compared; 1 of a metric that is
    no outer percentile."""
    percent = _PERCENT.get(metric)
    return 1 if percent is None else calls_needed(percent)


def percentile_basis(runs: int | None, percent: int) -> str | None:
    """Return what a percentile of so many calls is rather: largest of 42.

    Returns:
        None where the percentile is one, or the number of calls is not known.
    """
    if runs is None or runs >= calls_needed(percent):
        return None
    return f"largest of {runs}"
