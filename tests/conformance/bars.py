"""Plain comparisons of outputs with what is expected of them; no code of mopt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FP16_ERROR = 1e-2
"""Of the largest expected value: what an FP16 form may differ by."""
INT8_COSINE = 0.99
"""What an INT8 form's cosine with the FP32 outputs must reach in every output."""


def suite_difference(
    found: Sequence[Any], expected: Sequence[Any], rtol: float, atol: float
) -> str | None:
    """Return how outputs differ from the standard's expectations; None where they do not."""
    if len(found) != len(expected):
        return f"{len(found)} outputs instead of {len(expected)}"
    for one, wanted in zip(found, expected, strict=True):
        if said := _difference(one, wanted, rtol, atol):
            return said
    return None


def _difference(one: Any, wanted: Any, rtol: float, atol: float) -> str | None:
    if isinstance(wanted, (list, tuple)):
        if not isinstance(one, (list, tuple)):
            return "a tensor instead of a sequence"
        return suite_difference(one, wanted, rtol, atol)
    if wanted is None or one is None:
        return None if wanted is one else "an optional value that is there in one of both"
    one, wanted = np.asarray(one), np.asarray(wanted)
    if said := _kind(one, wanted):
        return said
    if wanted.dtype.kind in "OSUT":
        return None if one.tolist() == wanted.tolist() else "other strings"
    if wanted.dtype.name == "bfloat16":
        rtol = max(rtol, 2**-6)
    with np.errstate(all="ignore"):
        one, wanted = one.astype(np.float64), wanted.astype(np.float64)
        close = np.isclose(one, wanted, rtol=rtol, atol=atol, equal_nan=True)
        if close.all():
            return None
        worst = float(np.nanmax(np.abs(one - wanted), initial=0.0))
        peak = float(np.nanmax(np.abs(wanted), initial=0.0))
    return f"{(~close).sum()} of {close.size} values differ, by up to {worst:.3g} of {peak:.3g}"


def _kind(one: Any, wanted: Any) -> str | None:
    if one.shape != wanted.shape:
        return f"shape {one.shape} instead of {wanted.shape}"
    if one.dtype != wanted.dtype and not {one.dtype.kind, wanted.dtype.kind} <= set("OSUT"):
        return f"{one.dtype} instead of {wanted.dtype}"
    return None


def near(found: Sequence[Any], expected: Sequence[Any], error: float) -> str | None:
    """Return what is farther from FP32 than a share of its largest value; None if nothing is."""
    for one, wanted in zip(found, expected, strict=True):
        if said := _kind(one, wanted) or _places(one, wanted):
            return said
        one, wanted = _finite(one, wanted)
        worst = float(np.abs(one - wanted).max(initial=0.0))
        peak = float(np.abs(wanted).max(initial=0.0))
        if worst > error * peak + 1e-6:
            return f"differs by {worst:.3g} of {peak:.3g}"
    return None


def other_integers(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Return whether an output of integers or Booleans differs at all: rounding moves none."""
    pairs = zip(found, expected, strict=True)
    return any(b.dtype.kind in "biu" and not np.array_equal(a, b) for a, b in pairs)


def alike(found: Sequence[Any], expected: Sequence[Any], least: float) -> str | None:
    """Return which output has a smaller cosine with FP32's; None if none has."""
    for one, wanted in zip(found, expected, strict=True):
        if said := _kind(one, wanted) or _places(one, wanted):
            return said
        one, wanted = _finite(one, wanted)
        if (value := cosine(one.ravel(), wanted.ravel())) < least:
            return f"cosine {value:.3f}"
    return None


def _places(one: Any, wanted: Any) -> str | None:
    if wanted.dtype.kind in "OSUT":
        return None if one.tolist() == wanted.tolist() else "other strings"
    same = np.array_equal(np.isfinite(one), np.isfinite(wanted))
    return None if same else "NaN or infinity in other places"


def _finite(one: Any, wanted: Any) -> tuple[Any, Any]:
    if wanted.dtype.kind in "OSUT":
        return np.zeros(0), np.zeros(0)
    places = np.isfinite(wanted)
    return one[places].astype(np.float64), wanted[places].astype(np.float64)


def cosine(one: Any, wanted: Any) -> float:
    """Return the cosine of two flat arrays; of nothing with nothing it is 1."""
    norms = float(np.linalg.norm(one)), float(np.linalg.norm(wanted))
    if norms[1] <= 1e-6:
        return float(norms[0] <= 1e-3)
    return 0.0 if norms[0] == 0 else float(one @ wanted) / (norms[0] * norms[1])
