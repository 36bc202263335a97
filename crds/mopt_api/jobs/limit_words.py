"""How close forms come to their limits, and why INT8 is not faster where it is not, as text."""

from __future__ import annotations

from mopt_api.enums import Precision
from mopt_api.quantities import significant
from mopt_api.runtimes import runtime_title

from .limits import FP32, INT8, Bound, ExecutedLayers, Limit, Peaks
from .measure_result import MeasureResult, VariantResult


def limit_of(variant: VariantResult, result: MeasureResult) -> Limit | None:
    """Return a form's limit at the objective's point; None where it is not known."""
    point = variant.at(result.objective_point)
    return point.limit if point is not None else None


def shares_in_words(result: MeasureResult) -> str:
    """Return what share of its limit each form reaches; empty where none is known."""
    found = [(v.name, limit.share) for v in result.everyone if (limit := limit_of(v, result))]
    if not found:
        return ""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found)
    return f"of what this machine could reach at most: {shares}"


def slow_int8(result: MeasureResult) -> dict[str, str]:
    """Return, by name, why each INT8 form that is not faster than FP32 of its runtime is not.

    One of which nothing is known that would say why is missing.
    """
    found = {}
    for variant in result.variants:
        fp32 = _fp32_beside(variant, result)
        if fp32 is not None and (causes := _causes(variant, fp32, result)):
            title = runtime_title(variant.runtime)
            found[variant.name] = f"not faster than {title} FP32 ({fp32.name}): {causes}"
    return found


def _fp32_beside(variant: VariantResult, result: MeasureResult) -> VariantResult | None:
    """Return the fastest FP32 form of an INT8 form's runtime; None where INT8 is faster."""
    own = variant.at(result.objective_point)
    if own is None or variant.precision is not Precision.INT8:
        return None
    timed = [
        (point.latency_ms.p50, other)
        for other in result.everyone
        if other.runtime is variant.runtime and other.precision is Precision.FP32
        if (point := other.at(result.objective_point)) is not None
    ]
    if not timed:
        return None
    fastest, other = min(timed, key=lambda one: one[0])
    return other if own.latency_ms.p50 >= fastest else None


def _causes(variant: VariantResult, fp32: VariantResult, result: MeasureResult) -> str:
    causes = []
    if variant.executed is not None:
        causes += [_layers(variant.executed), _conversions(variant.executed, fp32.executed)]
    limit = limit_of(variant, result)
    if limit is not None and limit.bound is Bound.MEMORY:
        causes.append("memory, not arithmetic, is its limit")
    elif result.peaks is not None and causes:
        causes.append(_arithmetic(result.peaks))
    return ", ".join(filter(None, causes))


def _layers(executed: ExecutedLayers) -> str:
    total, fast = sum(executed.by_type.values()), executed.by_type.get(INT8, 0)
    if not total:
        return ""
    if fast == total:
        return f"all {total} layers are computed in INT8" if total > 1 else "its layer is in INT8"
    rest = {kind for kind in executed.by_type if kind != INT8}
    kept = "stayed FP32" if rest == {FP32} else "are not computed in INT8"
    return f"{total - fast} of {total} layers {kept}{_part(executed)}"


def _part(executed: ExecutedLayers) -> str:
    products = executed.products
    if products is None or not (total := sum(products.values())):
        return ""
    return f" ({1 - products.get(INT8, 0) / total:.0%} of the products)"


def _conversions(own: ExecutedLayers, fp32: ExecutedLayers | None) -> str:
    added = own.conversions - (fp32.conversions if fp32 is not None else 0)
    if added <= 0:
        return ""
    return f"{added} conversion{'s were' if added > 1 else ' was'} added"


def _arithmetic(peaks: Peaks) -> str:
    fast, slow = peaks.products.get(INT8), peaks.products.get(FP32)
    if fast is None or slow is None:
        return ""
    return f"this CPU multiplies {significant(fast / slow, 2)} times as fast in INT8 as in FP32"
