"""Judges the figures in status again where only gates or objective changed. Pure."""

from __future__ import annotations

from mopt_api.figures import QualityReference, converted
from mopt_api.jobs.measure_result import PointResult, VariantResult
from mopt_api.jobs.plan import objective_point
from mopt_api.jobs.selection import select, unjudged
from mopt_api.jobs.termination import rounded
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import Measurement, TargetStatus, VariantStatus


def measured_ranges(spec: ModelOptimizationSpec) -> dict[str, float]:
    """Return the quality metrics that a measurement computes, each with its dataRange."""
    return {gate.figure: gate.data_range for gate in spec.quality}


def measures_all(measurement: Measurement, spec: ModelOptimizationSpec) -> bool:
    """Tell whether every gate's metric was computed, over the same range."""
    known = measurement.data_ranges
    return all(known.get(gate.figure) == gate.data_range for gate in spec.quality)


def shows_point(target: TargetStatus, spec: ModelOptimizationSpec) -> bool:
    """Tell whether status holds the figures of the objective's benchmark point.

    A target that only builds has no such figures, and lacks none.
    """
    return target.baseline is None or target.point == objective_point(
        spec.objective, spec.benchmark
    )


def _result(variant: VariantStatus, point: str | None) -> VariantResult:
    points = []
    if variant.latency_ms is not None and point is not None:
        points.append(
            PointResult(
                point=point,
                latency_ms=variant.latency_ms,
                throughput=variant.throughput or 0.0,
                runs=1,
                coefficient_of_variation=0.0,
            )
        )
    return converted(variant, VariantResult, points=points)


def _judged(before: VariantStatus, after: VariantResult) -> VariantStatus:
    return before.model_copy(
        update={
            "state": after.state.value,
            "reason": after.reason and after.reason.value,
            "message": after.message,
            "speedup": rounded(after.speedup),
            "speedup_over_fastest_fp32": rounded(after.speedup_over_fastest_fp32),
        }
    )


def rejudged(
    target: TargetStatus, spec: ModelOptimizationSpec, judging: str
) -> TargetStatus | None:
    """Return a target's verdict by other gates or another objective.

    The figures in status have four significant digits; so has a speedup that is compared with
    minimumSpeedup here. What was judged by the same gates and objective stays as it is.

    Args:
        judging: Key of the spec's gates and objective.

    Returns:
        None where status cannot be read by this version.
    """
    measurement = target.measurement or Measurement(key="")
    if measurement.judged == judging:
        return target
    try:
        built = target.baseline is None
        baseline = unjudged(_result(target.baseline, target.point)) if target.baseline else None
        variants = [unjudged(_result(v, target.point), built=built) for v in target.variants]
        reference = None if target.reference is None else QualityReference(target.reference)
    except ValueError:
        # A runtime, reason or reference of a newer version: the figures are measured again.
        return None
    selection = select(
        baseline,
        variants,
        gates=spec.quality,
        objective=spec.objective,
        benchmark=spec.benchmark,
        reference=reference,
    )
    return target.model_copy(
        update={
            "baseline": target.baseline
            and selection.baseline
            and _judged(target.baseline, selection.baseline),
            "variants": [
                _judged(before, after)
                for before, after in zip(target.variants, selection.variants, strict=True)
            ],
            "selected": selection.selected,
            "measurement": measurement.model_copy(update={"judged": judging}),
        }
    )
