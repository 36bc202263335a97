"""The Pareto front over all forms of all targets: quality, speed, memory and cost. Pure.

A figure that is not known is the worst. Memory is a process's, or on a GPU the GPU's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from .base import Count, Milliseconds, Name, ObservedModel
from .constraints import Figures, shown_figures
from .enums import ObjectiveMetric
from .figures import QualityResult, VariantReason, VariantState
from .jobs.gates import judged_result, judged_value
from .jobs.measure_result import BASELINE
from .metrics import METRICS
from .pareto import Goodness, dominators
from .recommendation import Amount, cost_per_million
from .spec import QualityGate
from .status import TargetStatus, VariantStatus

_WORST = -math.inf


class Tradeoff(ObservedModel):
    """A form with the figures that are compared."""

    target: Name = Field(description="The target's name.")
    variant: str = Field(max_length=40, description="The form; baseline for the source model.")
    quality: QualityResult | None = Field(default=None, description="What the first gate judges.")
    latency_p50_ms: Milliseconds | None = Field(default=None, description="Of a single call.")
    peak_memory_bytes: Count | None = Field(default=None, description="Its memory.")
    cost_per_million: Amount | None = Field(
        default=None, description="Of a million samples; under load where that was measured."
    )
    dominated_by: str | None = Field(
        default=None,
        max_length=96,
        description="TARGET/VARIANT on the front that is better in something and worse in nothing; "
        "absent on the front.",
    )


def is_compared(state: str, reason: str | None) -> bool:
    """Return whether a form counts: it passed the gates, whatever constraint it misses."""
    return state == VariantState.PASSED or (
        state == VariantState.REJECTED and reason == VariantReason.CONSTRAINT
    )


def shown_quality(
    gate: QualityGate | None, quality: Sequence[QualityResult]
) -> QualityResult | None:
    """Return the quality that is compared: what a gate judges, else the first that is known."""
    judged = judged_result(gate, quality) if gate is not None else None
    return judged or next(iter(quality), None)


def goodness_of(
    name: str,
    quality: Sequence[QualityResult],
    figures: Figures,
    gate: QualityGate | None,
    *,
    price: float | None,
    under_load: bool,
) -> Goodness:
    """Return what is larger for a better form: quality, speed, memory and cost.

    The baseline's quality, where outputs are compared with its own, is the best.

    Args:
        price: Of one replica for an hour.
        under_load: See Figures.cost.
    """
    of_sample = figures.cost(ObjectiveMetric.COST_PER_MILLION, under_load=under_load)
    costs = (
        figures.cost(ObjectiveMetric.LATENCY_P50),
        figures.cost(ObjectiveMetric.PEAK_MEMORY),
        None if price is None or of_sample is None else price * of_sample,
    )
    known = (_quality(name, quality, gate), *(None if cost is None else -cost for cost in costs))
    return tuple(_WORST if each is None or math.isnan(each) else each for each in known)


def _quality(name: str, quality: Sequence[QualityResult], gate: QualityGate | None) -> float | None:
    shown = shown_quality(gate, quality)
    if shown is None:
        return math.inf if name == BASELINE else None
    judged = judged_value(gate, quality) if gate is not None else None
    value = shown.worst if judged is None else judged
    return value if METRICS[shown.metric].higher_is_better else -value


def tradeoffs(
    targets: Iterable[TargetStatus],
    prices: Mapping[str, float | None],
    gate: QualityGate | None,
) -> list[Tradeoff]:
    """Return every form that passed the gates on some target, those on the front first.

    Args:
        targets: Those of an earlier run do not count.
        prices: Of one replica for an hour, by target.
        gate: The first of spec.quality; None without gates.
    """
    forms = {
        (target.name, form.name): form
        for target in targets
        if not target.from_earlier_run
        for form in target.everyone
        if is_compared(form.state, form.reason) and (form.latency_ms or form.load)
    }
    under_load = any(form.load for form in forms.values())
    goodness = {
        key: goodness_of(
            form.name,
            form.quality,
            shown_figures(form),
            gate,
            price=prices.get(key[0]),
            under_load=under_load,
        )
        for key, form in forms.items()
    }
    better = dominators(goodness)
    rows = [
        _row(key[0], form, gate, prices.get(key[0]), better[key], under_load=under_load)
        for key, form in forms.items()
    ]
    return sorted(rows, key=lambda row: row.dominated_by is not None)


def _row(
    target: str,
    form: VariantStatus,
    gate: QualityGate | None,
    price: float | None,
    better: tuple[str, str] | None,
    *,
    under_load: bool,
) -> Tradeoff:
    figures = shown_figures(form)
    counted = figures.load or not under_load
    cost = cost_per_million(price, figures.best_throughput) if counted else None
    return Tradeoff(
        target=target,
        variant=form.name,
        quality=shown_quality(gate, form.quality),
        latency_p50_ms=form.latency_ms.p50 if form.latency_ms else None,
        peak_memory_bytes=form.peak_memory_bytes,
        cost_per_million=None if cost is None else float(f"{cost:.4g}"),
        dominated_by="/".join(better) if better else None,
    )
