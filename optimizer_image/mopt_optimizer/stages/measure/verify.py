"""The verify stage: does a stored measurement's verdict still hold, here and now?

The baseline and the best forms are measured once more, on the files that prepare made then, with
what this image and this machine are now. It is short: one point, one repetition, no load, and a
share of the time. It has a result.json of its own, which nothing is served from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials, VerifyPlan
from mopt_api.jobs.stored_plans import share_of, verification_plan
from mopt_optimizer.errors import DataError
from mopt_optimizer.progress import Log
from mopt_optimizer.stages.verdict import read_result
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store
from mopt_optimizer.timing.interleave import MIN_RUNS

from .job import Effort, Job
from .stage import MeasureStage, SideBySide

# To compare medians at all, whatever a call takes.
_LEAST_CALLS = 2


def verify(
    plan: VerifyPlan, environ: Mapping[str, str], workdir: Path, log: Log
) -> tuple[MeasureResult, str]:
    """Measure the best forms of a stored measurement again, briefly; store that result.json.

    Args:
        environ: Holds the stores' credentials; variants' processes get none of them.
        workdir: Exists, empty, ours.

    Returns:
        The result, and the digest of its result.json in the output store.

    Raises:
        ObjectNotFound: The measurement is gone from the store.
        DataError: It cannot be verified by this plan.
        OptimizerError: As measure.
    """
    store, prefix = open_store(plan.output_uri, Credentials.OUTPUT, environ)
    blobs = Blobs(store, prefix)
    known = read_result(blobs, plan.result)
    try:
        measured, share = verification_plan(plan, known), share_of(plan, known)
    except ValueError as error:
        raise DataError(f"{blobs.uri(plan.result)} cannot be verified: {error}") from error
    effort = Effort(
        least_calls=max(_LEAST_CALLS, int(share * MIN_RUNS)), repetitions=0, lasting=False
    )
    log("verify", f"{share:.0%} of the time for {', '.join(plan.forms)}", result=plan.result)
    job = Job(measured, environ, workdir, log, effort)
    return MeasureStage(job, SideBySide(job)).run()
