"""The report stage: judge a measurement that is in the store by other gates or objective.

Nothing is measured and no model is opened: result.json is read by its digest, judged, and written
under a digest of its own, with its page. The earlier one stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import ValidationError

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials, ReportPlan, objective_point
from mopt_api.jobs.selection import select, unjudged
from mopt_optimizer.errors import DataError
from mopt_optimizer.progress import Log
from mopt_optimizer.store.base import open_store
from mopt_optimizer.store.blobs import Blobs

from .page import publish


def judged_anew(result: MeasureResult, plan: ReportPlan) -> MeasureResult:
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
    built = result.baseline is None
    selection = select(
        result.baseline and unjudged(result.baseline),
        [unjudged(variant, built=built) for variant in result.variants],
        gates=plan.quality,
        objective=plan.objective,
        benchmark=plan.benchmark,
        reference=result.reference,
    )
    told = {name: plan.to_api()[name] for name in ("quality", "objective", "benchmark")}
    return result.model_copy(
        update={
            "baseline": selection.baseline,
            "variants": selection.variants,
            "selected": selection.selected,
            "objective_point": point,
            "plan": result.plan and result.plan | told,
        }
    )


def result_bytes(result: MeasureResult) -> bytes:
    """Return result.json: the same bytes for the same result."""
    return json.dumps(result.to_api(), sort_keys=True, separators=(",", ":")).encode()


def report(plan: ReportPlan, environ: Mapping[str, str], log: Log) -> tuple[MeasureResult, str]:
    """Judge a stored measurement anew and store the new result.json.

    Args:
        environ: Holds the output store's credentials.

    Returns:
        The result, and the digest of its result.json in the output store.

    Raises:
        ObjectNotFound: The measurement is gone from the store.
        DataError: What is stored there cannot be judged by this plan.
        StoreError
    """
    store, prefix = open_store(plan.output_uri, Credentials.OUTPUT, environ)
    blobs = Blobs(store, prefix)
    try:
        measured = MeasureResult.model_validate_json(blobs.read(plan.result))
    except ValidationError as error:
        raise DataError(f"{blobs.uri(plan.result)} is no result.json: {error}") from error
    result = judged_anew(measured, plan)
    digest = blobs.put_bytes(result_bytes(result))
    publish(blobs, digest, plan, log)
    log("report", f"selected {result.selected}", digest=digest)
    return result, digest
