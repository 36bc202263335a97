"""Numbers for people. Pure."""

from __future__ import annotations

NOT_MEASURED = "–"
_UNITS = {2**10: "KiB", 2**20: "MiB", 2**30: "GiB"}


def significant(value: float, digits: int = 3) -> str:
    """Return a number with that many significant digits, trailing zeros kept, no exponent
    between 0.0001 and a million."""
    text = f"{value:#.{digits}g}"
    if "e" in text and 1 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.rstrip(".")


def ratio(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{significant(value)}x"


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
