"""The plans of Jobs that start from a stored measurement. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ObjectiveMetric
from mopt_api.objective import Objective
from mopt_api.spec import ModelOptimizationSpec

from .measure_result import MeasureResult
from .plan import MeasurePlan, ReportPlan, VerifyPlan, objective_point

SHARE = 0.2
"""Of the time that the whole measurement takes calls for, what a verification may take."""
_LEAST_SECONDS = 0.1  # As Benchmark has it.
_OF_THE_FILE = (ObjectiveMetric.SIZE_BYTES, ObjectiveMetric.PEAK_MEMORY)


def report_plan(
    spec: ModelOptimizationSpec, *, target: str, result: str, output_uri: str
) -> ReportPlan:
    """Return the plan of a target's report Job.

    Args:
        result: Digest of the measurement's result.json.
    """
    return ReportPlan(
        target=target,
        result=result,
        quality=spec.quality,
        objective=spec.objective,
        benchmark=spec.benchmark,
        output_uri=output_uri,
    )


def verify_plan(
    spec: ModelOptimizationSpec, *, target: str, result: str, forms: Sequence[str], output_uri: str
) -> VerifyPlan:
    """Return the plan that verifies a target's result.

    Args:
        result: Digest of the measurement's result.json.
        forms: Names of up to three variants, the best first.
    """
    return VerifyPlan(
        target=target,
        result=result,
        forms=list(forms),
        quality=spec.quality,
        objective=spec.objective,
        benchmark=spec.benchmark,
        output_uri=output_uri,
    )


def verification_plan(plan: VerifyPlan, known: MeasureResult) -> MeasurePlan:
    """Return the measurement that verifies a stored one: a few of its forms, at the objective's
    point alone, without load, in a share of the time.

    Auto does not choose again. Constraints on time are left out, since so few calls are no
    verdict on them: what was timed is compared by whoever reads the result.

    Raises:
        ValueError: The stored result is of another target, of an older version, or has not all
            that is asked for.
    """
    if known.target != plan.target:
        raise ValueError(f"{plan.result} is of target {known.target}, not {plan.target}")
    measured = MeasurePlan.model_validate(known.plan)
    variants = {variant.name: variant for variant in measured.variants}
    if lacking := [name for name in plan.forms if name not in variants]:
        raise ValueError(f"{plan.result} has no variant {', '.join(lacking)}")
    share = share_of(plan, known)
    kept = [entry for entry in plan.objective.constraints if entry.metric in _OF_THE_FILE]
    return measured.model_copy(
        update={
            "prepared": known.prepared,
            "variants": [variants[name] for name in plan.forms],
            "quality": plan.quality,
            "objective": plan.objective.model_copy(update={"constraints": kept}),
            "benchmark": _shortened(plan.benchmark, plan.objective, share),
            "output_uri": plan.output_uri,
            "search": None,
        }
    )


def share_of(plan: VerifyPlan, known: MeasureResult) -> float:
    """Return the share of its own time that each form is given, at most 1.

    Raises:
        ValueError: Nothing was timed at the objective's point.
    """
    point = objective_point(plan.objective, plan.benchmark)
    timed = [form for form in known.everyone if form.at(point) is not None]
    if known.baseline is None or known.baseline not in timed:
        raise ValueError(f"{plan.result} has no point {point}")
    everyone = len(timed) * max(1, len(plan.benchmark.points))
    return min(1.0, SHARE * everyone / (1 + len(plan.forms)))


def _shortened(benchmark: Benchmark, objective: Objective, share: float) -> Benchmark:
    point = objective_point(objective, benchmark)
    duration = max(_LEAST_SECONDS, benchmark.min_duration_seconds * share)
    # What the duration cannot save the warm-up does.
    saved = duration - benchmark.min_duration_seconds * share
    return benchmark.model_copy(
        update={
            "warmup_seconds": max(0.0, benchmark.warmup_seconds * share - saved),
            "min_duration_seconds": duration,
            "max_duration_seconds": duration,
            "points": [each for each in benchmark.points if each.name == point],
            "load": None,
        }
    )
