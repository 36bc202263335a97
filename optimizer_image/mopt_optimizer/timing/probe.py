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
class Best:
    """The fastest FP32 form at a point.

    Attributes:
        name: The form's.
        ns: Its fastest call, nanoseconds.
    """

    name: str
    ns: int


def best_of(known: Best | None, fp32_ns: Mapping[str, int]) -> Best:
    """Return the fastest form after FP32 forms were probed; of equals the earlier one.

    Args:
        known: Of earlier forms, if there were any.
        fp32_ns: Each form's fastest call; at least one.
    """
    found = [Best(name, ns) for name, ns in fp32_ns.items()]
    return min([*([known] if known else []), *found], key=lambda one: one.ns)


def hopeless_because(ns: int, best: Best, point: str) -> str | None:
    """Return why a form with this fastest call has no chance at a point; None where it has one."""
    if ns <= HOPELESS * best.ns:
        return None
    return (
        f"probed at {ns / 1e6:.4g} ms a call at point {point}, {best.name} at "
        f"{best.ns / 1e6:.4g} ms: more than {HOPELESS:g} times as long"
    )
