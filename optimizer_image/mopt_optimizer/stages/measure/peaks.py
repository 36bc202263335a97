"""What the machine reaches at most: measured once for each kind of node, then kept in the store."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from pydantic import ValidationError

from mopt_api.enums import TargetKind
from mopt_api.figures import Hardware
from mopt_api.jobs.limits import Peaks, best_of
from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.machine.system import has_native_bf16
from mopt_optimizer.sandbox import ChildDied, answered, run_child, temporary_folder
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE
from mopt_optimizer.stages.watching import memory_watch
from mopt_optimizer.timing.disturbance import REPETITIONS, is_disturbed, judged_counters

from .job import Job
from .key import runtime_versions
from .peaks_request import Effort, PeaksRequest

PEAKS_WORKER = "mopt_optimizer.stages.measure.peaks_worker"
"""Module of the child that answers a PeaksRequest with Peaks."""

_LONGEST_SECONDS = 300.0
_SOFTWARE = ("mopt", "numpy", "openvino", "python")
# Of the memory: what is copied stands in it twice.
_MEMORY_PART = 8
# Libraries of numpy that would start threads beside ours.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

EFFORT = Effort()


def peaks_of(job: Job, hardware: Hardware) -> Peaks | None:
    """Return what the machine reaches, from the store where a machine like it was measured before.

    None on a GPU target, without OpenVINO, whose kernels it is measured with, and where measuring
    fails: no reason to measure nothing else.

    Raises:
        StoreError
    """
    software = runtime_versions()
    if job.plan.kind is not TargetKind.CPU or "openvino" not in software:
        return None
    key = peaks_key(hardware, software, job.environ.get(REQUESTED_AT_VARIABLE))
    if (known := _known(job, key)) is not None:
        return known
    with job.timings.step("peaks", "measuring what this machine reaches at most"):
        peaks = _measured(job, hardware)
    if peaks is not None and not peaks.unstable:
        job.blobs.index_put(key, job.blobs.put_bytes(peaks.model_dump_json(by_alias=True).encode()))
    return peaks


def peaks_key(hardware: Hardware, software: dict[str, str], requested_at: str | None) -> str:
    """Return the index name under which the peaks of such a machine are kept.

    Neither the node's name nor the memory limit is part of it.
    """
    parts = {
        "hardware": hardware.model_copy(update={"node": None, "memory_bytes": None}).to_api(),
        "software": {name: software.get(name) for name in _SOFTWARE},
        "requestedAt": requested_at,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"peaks-{hashlib.sha256(text.encode()).hexdigest()}"


def _known(job: Job, key: str) -> Peaks | None:
    if (found := job.blobs.index_read(key)) is None:
        return None
    try:
        return Peaks.model_validate_json(found[1])
    except ValidationError:
        return None


def _measured(job: Job, hardware: Hardware) -> Peaks | None:
    """Return the best of a few measurements, up to the first that nothing disturbs."""
    threads = hardware.threads or 1
    counters = judged_counters(job.system.counters, threads, job.system.usable_cpus())
    memory = hardware.memory_bytes
    request = PeaksRequest(
        threads=threads,
        bf16=has_native_bf16(hardware.cpu_features),
        memory_bytes=memory // _MEMORY_PART if memory else None,
        effort=EFFORT,
    )
    found: list[Peaks] = []
    while len(found) <= REPETITIONS and (not found or found[-1].unstable):
        before, started = counters(), time.monotonic()
        try:
            peaks = _asked(job, request)
        except (OptimizerError, ChildDied) as error:
            job.log("peaks", f"what this machine reaches is not known: {error}")
            return None
        disturbed = is_disturbed(before, counters(), time.monotonic() - started)
        found.append(peaks.model_copy(update={"unstable": disturbed}))
    best = best_of(found)
    for kind, rate in best.products.items():
        job.log("peaks", f"{rate / 1e9:.4g} billion products a second in {kind}", type=kind)
    return best


def _asked(job: Job, request: PeaksRequest) -> Peaks:
    with temporary_folder(job.workdir, prefix="peaks-") as folder:
        answer = run_child(
            PEAKS_WORKER,
            request.to_api(),
            Path(folder),
            timeout=_LONGEST_SECONDS,
            environ=job.environ,
            variables=_ONE_THREAD,
            watch=memory_watch(job.system, "the process that measures the machine"),
        )
    return answered(Peaks, answer)
