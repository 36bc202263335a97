"""Finds a stored measurement that answers a plan, and judges it by the plan."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from mopt_api.artifacts import Artifact
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import DigestMismatch, ObjectNotFound
from mopt_optimizer.progress import Log
from mopt_optimizer.stages.artifacts import identity, intact
from mopt_optimizer.stages.report.page import publish
from mopt_optimizer.stages.verdict import rejudged, result_bytes
from mopt_optimizer.store.blobs import Blobs


def computed(measured: Sequence[QualityGate], wanted: Sequence[QualityGate]) -> bool:
    """Return whether a measurement by some gates has the metrics of others, over the same ranges.

    The operator checks the same before it judges again by itself.
    """
    known = {(gate.figure, gate.data_range) for gate in measured}
    return all((gate.figure, gate.data_range) in known for gate in wanted)


def measured_before(
    blobs: Blobs, key: str, plan: MeasurePlan, log: Log
) -> tuple[MeasureResult, str] | None:
    """Return the measurement of a key, with the verdict of the plan's gates and objective.

    Args:
        key: Of everything but gates and objective.

    Returns:
        The result and the digest it is stored under. None where nothing was measured before, the
        plan's gates need what was not computed, or something is missing or damaged: result.json,
        a file or the pictures that it names.

    Raises:
        StoreError
    """
    if (found := blobs.index_read(key)) is None:
        return None
    digest, data = found
    try:
        known = MeasureResult.model_validate_json(data)
        planned = MeasurePlan.model_validate(known.plan)
    except ValidationError:
        return None
    judging = {"quality": plan.quality, "objective": plan.objective}
    if planned.model_copy(update=judging) != plan or not computed(planned.quality, plan.quality):
        return None
    if not _whole(blobs, known):
        return None
    if planned == plan:
        log("measure", "served from the store: measured before", digest=digest)
    else:
        known = rejudged(known, _report_plan(plan, digest))
        digest = blobs.put_bytes(result_bytes(known))
        log(
            "measure",
            "served from the store: measured before, judged again by other gates or objective",
            digest=digest,
        )
    if not blobs.has_page(digest):
        publish(blobs, digest, plan, log)
    return known, digest


def _report_plan(plan: MeasurePlan, result: str) -> ReportPlan:
    return ReportPlan(
        target=plan.target,
        result=result,
        quality=plan.quality,
        objective=plan.objective,
        benchmark=plan.benchmark,
        output_uri=plan.output_uri,
    )


def _whole(blobs: Blobs, result: MeasureResult) -> bool:
    """Return whether everything that a result names is in the store, undamaged."""
    named: dict[str, Artifact] = {}
    for variant in result.everyone:
        if variant.artifact is not None:
            named[identity(variant.artifact)] = variant.artifact
    if not all(intact(blobs, artifact) for artifact in named.values()):
        return False
    try:
        if result.crops is not None:
            blobs.read(result.crops)
    except (ObjectNotFound, DigestMismatch):
        return False
    return True
