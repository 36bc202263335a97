"""Puts the page of a stored result beside it."""

from __future__ import annotations

from mopt_api.jobs.crops import Crops
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_optimizer.errors import ObjectNotFound
from mopt_optimizer.progress import Log
from mopt_optimizer.store.blobs import Blobs

from .page import render_page


def publish(blobs: Blobs, digest: str, plan: MeasurePlan | ReportPlan, log: Log) -> str:
    """Render and store the page of a result that is stored already.

    It is read from there, so that the same result.json always gives the same page. What a store's
    owner has removed since, the manifest or the pictures, is left out.

    Args:
        digest: Of result.json.
        plan: What judged it.

    Returns:
        The page's uri.

    Raises:
        ObjectNotFound: There is no such result.
        StoreError
    """
    result = MeasureResult.model_validate_json(blobs.read(digest))
    manifest = _read(blobs, result.prepared)
    pictures = _read(blobs, result.crops) if result.crops else None
    page = render_page(
        result,
        plan,
        digest=digest,
        manifest=None if manifest is None else PrepareResult.model_validate_json(manifest),
        crops=None if pictures is None else Crops.model_validate_json(pictures),
    )
    uri = blobs.put_page(digest, page.encode())
    log("page", f"the report is {uri}", uri=uri)
    return uri


def _read(blobs: Blobs, digest: str) -> bytes | None:
    try:
        return blobs.read(digest)
    except ObjectNotFound:
        return None
