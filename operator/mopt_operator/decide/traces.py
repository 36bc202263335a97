"""Which trace a run belongs to, and what its spans tell. Pure.

All ids are derived from what the run is: so each operator process names the same parent to a run's
Jobs, and the trace needs no record. OpenTelemetry itself is in loop.tracing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mopt_api.jobs.traceparent import TraceContext
from mopt_api.labels import CONTAINER
from mopt_api.status import ConditionType
from mopt_operator.config.settings import DEFAULT_PROFILE, Settings
from mopt_operator.objects import Json, Raw, Resource, Said, condition_of, ready_condition
from mopt_operator.times import parse_time

# As TraceIdRatioBased of OpenTelemetry decides, from the lower half of the id.
_SAMPLED_BITS = 64


@dataclass(frozen=True)
class JobTrace:
    """Where a Job's spans belong.

    Attributes:
        context: The span of the Job.
        variables: Of its container, as in a Pod: where spans go, and what they are about.
    """

    context: TraceContext
    variables: tuple[Json, ...]


@dataclass(frozen=True)
class RunEnd:
    """A run that is over.

    Attributes:
        context: Its span, the root of the trace.
        ready: What it ended with; None where another run took its place.
    """

    context: TraceContext
    start: datetime
    generation: int
    ready: Said | None = None


def root_of(trace_id: int) -> int:
    """Return the id of the span of a trace's run."""
    return _number(f"{trace_id:032x} run", 8)


def job_trace(job: str, profile: str, resource: Resource, settings: Settings) -> JobTrace | None:
    """Return where a Job's spans belong; None where nothing is traced.

    Args:
        job: Its name.
    """
    if settings.tracing is None:
        return None
    root = _context(resource.generation, resource.requested_at, resource, settings)
    context = root._replace(span_id=_number(f"{root.trace_id:032x} job {job}", 8))
    # $(...) is filled in by the kubelet; names of objects need no escapes.
    about = {
        "k8s.namespace.name": resource.namespace,
        "k8s.job.name": job,
        "k8s.pod.name": "$(MOPT_POD_NAME)",
        "k8s.node.name": "$(MOPT_NODE_NAME)",
        "k8s.container.name": CONTAINER,
        "mopt.name": resource.name,
        "mopt.profile": profile,
    }
    given = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": settings.tracing.endpoint.replace("$", "$$"),
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={value}" for key, value in about.items()),
    }
    # What the administrator says of all Jobs comes first.
    own = {variable.name for variable in settings.jobs.extra_env}
    pod = {"name": "MOPT_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    values = ({"name": name, "value": text} for name, text in given.items() if name not in own)
    return JobTrace(context, (pod, *values))


def ended_runs(resource: Resource, status: Raw, settings: Settings, now: datetime) -> list[RunEnd]:
    """Return the runs that a new status ends: one at its end, one because another takes its place.

    One that waits beyond its deadline may go on: it has not ended. One that needs no Job ends as
    soon as it begins.

    Args:
        resource: As it was, with the status that it had.
    """
    if settings.tracing is None:
        return []
    before, after = _run_of(resource.status), _run_of(status)
    since, same = _working_since(resource.status), before == after
    ended = []
    if since is not None and not same:
        context = _context(*before, resource, settings)
        ended.append(RunEnd(context, min(since, now), before[0]))
    if (since is not None or not same) and not _goes_on(status):
        start = min(since, now) if since is not None and same else now
        context = _context(*after, resource, settings)
        ended.append(RunEnd(context, start, after[0], ready_condition(status)))
    return ended


def _context(
    generation: int, requested: str | None, resource: Resource, settings: Settings
) -> TraceContext:
    """Return the span of a run: of what was asked for then, by the images that do it."""
    identity = [resource.uid, generation, requested or "", sorted(_images(resource, settings))]
    trace_id = _number(json.dumps(identity), 16)
    ratio = settings.tracing.sampling_ratio if settings.tracing else 0.0
    bound = round(ratio * 2**_SAMPLED_BITS)
    return TraceContext(trace_id, root_of(trace_id), trace_id % 2**_SAMPLED_BITS < bound)


def _images(resource: Resource, settings: Settings) -> Iterable[str]:
    targets = resource.spec.get("targets") or ()
    names = {DEFAULT_PROFILE, *(target.get("profile") or DEFAULT_PROFILE for target in targets)}
    return {settings.image_of(settings.profiles[n]) for n in names if n in settings.profiles}


def _number(text: str, size: int) -> int:
    """Return a number of that many bytes for a text, never 0."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size]) or 1


def _run_of(status: Raw) -> tuple[int, str | None]:
    """Return the run that a status speaks of."""
    return status.get("observedGeneration", -1), status.get("lastHandledReconcileAt")


def _goes_on(status: Raw) -> bool:
    if condition_of(status, ConditionType.RECONCILING).status == "True":
        return True
    return bool((status.get("progress") or {}).get("waitingSince"))


def _working_since(status: Raw) -> datetime | None:
    """Return since when a status says that work is done; None where it does not."""
    progress = status.get("progress") or {}
    times = [progress[name] for name in ("startTime", "waitingSince") if progress.get(name)]
    for condition in status.get("conditions") or ():
        if condition["type"] == ConditionType.RECONCILING and condition["status"] == "True":
            return min(map(parse_time, [condition["lastTransitionTime"], *times]))
    waits = bool(progress.get("waitingSince"))
    return min(map(parse_time, times)) if waits else None
