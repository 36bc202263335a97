"""Numbers for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_api.quantities import significant
from mopt_api.verdict import TOO_FEW_ROUNDS, is_telling

__all__ = ["NOT_MEASURED", "bounds", "milliseconds", "ratio", "seconds", "significant", "size"]

NOT_MEASURED = "–"
_UNITS = {2**10: "KiB", 2**20: "MiB", 2**30: "GiB"}


def ratio(value: float | None, interval: Sequence[float] | None = None) -> str:
    """Return a ratio, with its bounds where they are known: 4.93x [4.71, 5.16]."""
    if value is None:
        return NOT_MEASURED
    return f"{significant(value)}x" + ("" if interval is None else f" {bounds(interval)}")


def bounds(interval: Sequence[float]) -> str:
    """Return an interval as text: [4.71, 5.16]."""
    if not is_telling(interval):
        return f"[{TOO_FEW_ROUNDS}]"
    return f"[{', '.join(map(significant, interval))}]"


def milliseconds(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{significant(value)} ms"


def seconds(value: float) -> str:
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    return f"{significant(value)} s" if value < 100 else f"{value / 60:.1f} min"


def size(value: int | None) -> str:
    if value is None:
        return NOT_MEASURED
    unit = max((u for u in _UNITS if value >= u), default=None)
    return f"{value} B" if unit is None else f"{significant(value / unit)} {_UNITS[unit]}"
