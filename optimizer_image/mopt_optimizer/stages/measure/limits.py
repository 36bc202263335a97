"""How close each form comes to the limit of the machine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mopt_api.enums import Precision
from mopt_api.jobs.limits import Peaks, borrowed, roofline
from mopt_api.jobs.measure_result import PointResult, VariantResult

from .job import Results


def with_limits(found: Results, peaks: Peaks | None) -> Results:
    """Return the results with what each call has to do at least, and how long that takes.

    Args:
        peaks: None where they are not known.
    """
    everyone = [*filter(None, [found.baseline]), *found.variants]
    at: dict[str, list[PointResult]] = {}
    for point in (point for variant in everyone for point in variant.points):
        at.setdefault(point.point, []).append(point)

    def limited(variant: VariantResult) -> VariantResult:
        points = [_limited(p, variant, at[p.point], peaks) for p in variant.points]
        return variant.model_copy(update={"points": points})

    return replace(
        found,
        baseline=found.baseline and limited(found.baseline),
        variants=[limited(variant) for variant in found.variants],
    )


def _limited(
    point: PointResult, variant: VariantResult, others: Sequence[PointResult], peaks: Peaks | None
) -> PointResult:
    work = point.work
    if variant.precision is Precision.FP32:  # A program's own file is not counted.
        work = borrowed(work, [other.work for other in others if other.work is not None])
    if work is None:
        return point
    limit = roofline(work, peaks, point.latency_ms.p50) if peaks is not None else None
    return point.model_copy(update={"work": work, "limit": limit})
