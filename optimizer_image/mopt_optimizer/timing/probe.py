"""A few calls of each variant, so that the long benchmark is for those that may win. Pure.

They are compared with the fastest FP32 form, the baseline included: what they are compared with
must not fall to a gate afterwards, and FP32 holds gates if anything does. The fastest call counts,
since noise only ever makes calls longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROBE_CALLS = 3
# Probe and benchmark differ by less than half, seldom by more: with three times there is no doubt.
HOPELESS = 3.0


@dataclass(frozen=True)
class Bar:
    """The fastest FP32 form at a point.

    Attributes:
        name: The form's.
        ns: Its fastest call, nanoseconds.
    """

    name: str
    ns: int


def lower(bar: Bar | None, fp32_ns: Mapping[str, int]) -> Bar:
    """Return the bar after FP32 forms were probed; of equals the earlier one.

    Args:
        bar: Of earlier forms, if there were any.
        fp32_ns: Each form's fastest call; at least one.
    """
    bars = [] if bar is None else [bar]
    return min([*bars, *(Bar(name, ns) for name, ns in fp32_ns.items())], key=lambda one: one.ns)


def objection(ns: int, bar: Bar, point: str) -> str | None:
    """Return why a form with this fastest call has no chance at a point; None where it has one."""
    if ns <= HOPELESS * bar.ns:
        return None
    mine, best = ns / 1e6, bar.ns / 1e6
    return (
        f"probed at {mine:.4g} ms a call at point {point}, {bar.name} at {best:.4g} ms: "
        f"more than {HOPELESS:g} times as long"
    )
