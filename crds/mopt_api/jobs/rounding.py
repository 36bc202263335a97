"""Numbers as status shows them. Pure."""

from __future__ import annotations


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return the value rounded to significant digits, as status shows it."""
    return None if value is None else float(f"{value:.{digits}g}")


def rounded_count(value: int | None) -> int | None:
    """Return a number rounded to four significant digits."""
    return None if value is None else int(float(f"{value:.4g}"))


def shortened(value: object) -> object:
    """Return a value with all floats in it rounded, but for those of quality."""
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, dict):
        return {k: item if k == "quality" else shortened(item) for k, item in value.items()}
    return value


def rounded_quality(value: float) -> float:
    """Return a quality rounded to five significant digits, as status shows it.

    Close to 1 it keeps three digits of the distance to 1, so that 0.999998 stays apart from 1.
    """
    if 0.9999 < value < 1:
        return 1 - float(f"{1 - value:.3g}")
    return float(f"{value:.5g}")
