"""The section on how far each form is from the limit of its machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mopt_api.jobs.limit_words import limit_of, slow_int8
from mopt_api.jobs.limits import Bound, ExecutedLayers, Peaks
from mopt_api.jobs.measure_result import MeasureResult, VariantResult

from . import figures

_BOUNDS = {Bound.COMPUTE: "arithmetic", Bound.MEMORY: "memory"}


@dataclass(frozen=True)
class LimitRow:
    """One form: its work, the least time that it takes, and what is executed."""

    name: str
    chosen: bool
    products: str
    moved: str
    limit: str
    share: str
    layers: str

    @classmethod
    def of(cls, variant: VariantResult, result: MeasureResult) -> LimitRow:
        point, limit = variant.at(result.objective_point), limit_of(variant, result)
        work = point.work if point is not None else None
        return cls(
            name=variant.name,
            chosen=variant.name == result.selected,
            products=_counts(work.products) if work else figures.NOT_MEASURED,
            moved=figures.size(work.moved_bytes if work else None),
            limit=_limit(limit.limit_ms, limit.bound) if limit else figures.NOT_MEASURED,
            share=f"{limit.share:.0%}" if limit else figures.NOT_MEASURED,
            layers=_executed(variant.executed),
        )


@dataclass(frozen=True)
class LimitSection:
    """The forms of which anything is known, what the machine reaches, and what holds INT8 up."""

    rows: list[LimitRow]
    peaks: list[str]
    slow: dict[str, str]

    @classmethod
    def of(cls, result: MeasureResult) -> LimitSection | None:
        """Return the section; None where nothing is known."""
        known = [
            variant
            for variant in result.everyone
            if variant.executed is not None
            or ((point := variant.at(result.objective_point)) is not None and point.work)
        ]
        if not known:
            return None
        return cls(
            rows=[LimitRow.of(variant, result) for variant in known],
            peaks=_peaks(result.peaks),
            slow=slow_int8(result),
        )


def _billions(count: float) -> str:
    return figures.significant(count / 1e9)


def _counts(products: dict[str, int]) -> str:
    return ", ".join(f"{_billions(count)} G {kind}" for kind, count in products.items() if count)


def _limit(milliseconds: float, bound: Bound) -> str:
    return f"{figures.milliseconds(milliseconds)}, by {_BOUNDS[bound]}"


def _executed(executed: ExecutedLayers | None) -> str:
    if executed is None:
        return figures.NOT_MEASURED
    layers = ", ".join(f"{count} {kind}" for kind, count in executed.by_type.items())
    count = executed.conversions
    return f"{layers or 'none'}; {count} conversion{'' if count == 1 else 's'}"


def _peaks(peaks: Peaks | None) -> list[str]:
    if peaks is None:
        return []
    products = [
        f"{_billions(rate)} G products a second in {kind}" for kind, rate in peaks.products.items()
    ]
    moved = [
        f"{_billions(one.bytes_per_second)} GB/s to and from {figures.size(one.data_bytes)}"
        for one in peaks.bandwidths
    ]
    disturbed = ["others had the CPU meanwhile, so it may reach more"] if peaks.unstable else []
    return products + moved + disturbed
