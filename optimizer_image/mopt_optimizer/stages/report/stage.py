"""The report stage: judge a measurement that is in the store by other gates or objective.

Nothing is measured and no model is opened: result.json is read by its digest, judged, and written
under its own digest, with its page. The earlier one stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials, ReportPlan
from mopt_optimizer.progress import Log
from mopt_optimizer.stages.verdict import read_result, rejudged, result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .page import publish


def report(plan: ReportPlan, environ: Mapping[str, str], log: Log) -> tuple[MeasureResult, str]:
    """Judge a stored measurement again and store the new result.json.

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
    result = rejudged(read_result(blobs, plan.result), plan)
    digest = blobs.put_bytes(result_bytes(result))
    publish(blobs, digest, plan, log)
    log("report", f"selected {result.selected}", digest=digest)
    return result, digest
