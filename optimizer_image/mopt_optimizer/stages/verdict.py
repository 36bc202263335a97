"""A measurement judged by gates and an objective."""

from __future__ import annotations

import json

from pydantic import ValidationError

from mopt_api.jobs.data_statistics import DataFault
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import ReportPlan, objective_point
from mopt_api.jobs.selection import select, unjudged
from mopt_optimizer.errors import DataError
from mopt_optimizer.quality import range_warnings
from mopt_optimizer.store.blobs import Blobs


def rejudged(result: MeasureResult, plan: ReportPlan) -> MeasureResult:
    """Return a measurement with the verdict of a plan's gates and objective.

    Raises:
        DataError: It is of another target, or was not taken at the objective's point.
    """
    if result.target != plan.target:
        raise DataError(f"{plan.result} is of target {result.target}, not {plan.target}")
    point: str | None = None
    if result.baseline is not None:
        point = objective_point(plan.objective, plan.benchmark)
        if point not in {p.point for p in result.baseline.points}:
            known = ", ".join(p.point for p in result.baseline.points)
            raise DataError(f"{plan.result} has no point {point}; it has: {known}")
        if plan.benchmark.load is not None and point != result.objective_point:
            raise DataError(
                f"{plan.result} has figures under load at point {result.objective_point} alone, "
                f"not at {point}; measure again"
            )
    built = result.baseline is None
    selection = select(
        result.baseline and unjudged(result.baseline),
        [unjudged(variant, built=built) for variant in result.variants],
        gates=plan.quality,
        objective=plan.objective,
        benchmark=plan.benchmark,
        reference=result.reference,
    )
    judging = {name: plan.to_api()[name] for name in ("quality", "objective", "benchmark")}
    return result.model_copy(
        update={
            "baseline": selection.baseline,
            "variants": selection.variants,
            "selected": selection.selected,
            "verdict": selection.verdict,
            "objective_point": point,
            "warnings": [
                *(w for w in result.warnings if w.fault is not DataFault.DATA_RANGE),
                *range_warnings(plan.quality, result.outputs),
            ],
            "plan": result.plan and result.plan | judging,
        }
    )


def read_result(blobs: Blobs, digest: str) -> MeasureResult:
    """Return a measurement that is in the store.

    Raises:
        ObjectNotFound: It is gone.
        DataError: What is stored there is none.
        StoreError
    """
    try:
        return MeasureResult.model_validate_json(blobs.read(digest))
    except ValidationError as error:
        raise DataError(f"{blobs.uri(digest)} is no result.json: {error}") from error


def result_bytes(result: MeasureResult) -> bytes:
    """Return result.json: the same bytes for the same result."""
    return json.dumps(result.to_api(), sort_keys=True, separators=(",", ":")).encode()
