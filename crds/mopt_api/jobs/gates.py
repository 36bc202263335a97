"""How a form's quality stands to a gate. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_api.enums import Aggregate
from mopt_api.figures import QualityResult
from mopt_api.metrics import value_as_bound
from mopt_api.spec import QualityGate
from mopt_api.unseen import share_that_may_miss


def judged_value(gate: QualityGate, quality: Sequence[QualityResult]) -> float | None:
    """Return the value that a gate judges, or None where it was not computed."""
    found = judged_result(gate, quality)
    return None if found is None else found.value(gate.aggregate)


def may_miss(gate: QualityGate, quality: Sequence[QualityResult]) -> float | None:
    """Return the largest share of new samples that may miss a gate, with 95 % confidence.

    None of a gate on the mean, which no sample misses, and where single values are not known.
    """
    found = judged_result(gate, quality)
    if found is None or not found.per_sample or gate.aggregate is Aggregate.MEAN:
        return None
    misses = sum(not gate.passes(value) for value in found.per_sample)
    return share_that_may_miss(misses, len(found.per_sample))


def judged_result(gate: QualityGate, quality: Sequence[QualityResult]) -> QualityResult | None:
    """Return what a gate judges, or None where it was not computed."""
    return next((q for q in quality if q.metric is gate.metric and q.is_of(*gate.part)), None)


def gate_failure(gate: QualityGate, quality: Sequence[QualityResult]) -> str | None:
    """Return why a variant's quality fails a gate, or None where it passes.

    A metric that was not computed, or is NaN, fails.
    """
    value, found = judged_value(gate, quality), judged_result(gate, quality)
    if value is None or found is None:
        return f"{gate_name(gate)} was not measured"
    if gate.passes(value):
        return None
    limit = gate.minimum if gate.maximum is None else gate.maximum
    bound = f"{'below' if gate.maximum is None else 'above'} {limit:.10g}"
    shown = value_as_bound(gate.metric, value, bound=limit)
    where = f" in {found.part}" if found.part else ""
    return f"{gate.aggregate.lower()} {gate_name(gate)} {shown}{where} is {bound}"


def figure_name(quality: QualityResult) -> str:
    """Return the metric of a result and what it is of, for people: Cosine of scores."""
    return " of ".join(filter(None, (quality.metric, quality.slice, quality.output)))


def gate_name(gate: QualityGate) -> str:
    """Return a gate's metric and what it judges, for people: Cosine of scores."""
    return " of ".join([gate.metric, *(part for part in reversed(gate.part) if part)])
