"""Numbers for people. Pure."""

from __future__ import annotations

from mopt_api.enums import QualityMetric

NOT_MEASURED = "–"
_DECIBELS = (QualityMetric.PSNR, QualityMetric.SQNR)
_MIB = 2**20
_KIB = 2**10


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
    return f"{significant(value)} s" if value < 100 else f"{value / 60:.1f} min"


def size(value: int | None) -> str:
    if value is None:
        return NOT_MEASURED
    if value < _KIB:
        return f"{value} B"
    return f"{value / _KIB:.1f} KiB" if value < _MIB else f"{value / _MIB:.2f} MiB"


def is_decibels(metric: QualityMetric) -> bool:
    return metric in _DECIBELS


def quality(metric: QualityMetric, value: float, *, exact: bool = False) -> str:
    """Return a metric's value with its unit."""
    if exact:
        return "identical"
    if is_decibels(metric):
        return f"{value:.2f} dB"
    if metric is QualityMetric.TOP1_AGREEMENT:
        return f"{value:.2%}"
    return significant(value, 4) if metric is QualityMetric.MAX_ABS_ERROR else f"{value:.5f}"
