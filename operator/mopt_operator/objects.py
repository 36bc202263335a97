"""The objects of the cluster, reduced to what decisions need. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import ValidationError

from mopt_api.base import APPROVE_ANNOTATION, REQUESTED_AT_ANNOTATION
from mopt_api.figures import SourceInfo
from mopt_api.jobs.traceparent import TraceContext, trace_context
from mopt_api.labels import (
    CONTAINER,
    LABEL_NAME,
    LABEL_PROFILE,
    LABEL_STAGE,
    LABEL_UID,
    MAX_REQUESTED_AT,
)
from mopt_api.text import cleaned, one_line

from .times import parse_time
from .told import Told

# An object of the API as it was read, and one that is made to be sent.
Raw = Mapping[str, Any]
Json = dict[str, Any]

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "mopt"
ANNOTATION_GENERATION = "mopt.dev/generation"
ANNOTATION_PREPARED = "mopt.dev/prepared"
ANNOTATION_RESULT = "mopt.dev/result"
ANNOTATION_SOURCE = "mopt.dev/source"
ANNOTATION_MEASURED_BY = "mopt.dev/measured-by"
ANNOTATION_SERVED = "mopt.dev/served-from-store"
ANNOTATION_ATTEMPT = "mopt.dev/attempt"
ANNOTATION_TRACEPARENT = "mopt.dev/traceparent"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
MAX_IMAGE = 512  # of status.targets[].optimizer
MAX_APPROVED = 2048  # characters of the annotation approve
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Jobs and Pods are selected by a label that nobody else has a reason to write: policies stamp the
# recommended ones on whatever is created.
SELECTOR = LABEL_UID


@dataclass(frozen=True, slots=True)
class Resource:
    """A ModelOptimization.

    Attributes:
        requested_at: Value of the mopt.dev/requestedAt annotation, cut to 128 characters.
        deleting: Its deletion has begun.
        created: When, as metav1.Time is written: in order of text these are in order of time.
        approved: Value of the mopt.dev/approve annotation, cut to MAX_APPROVED characters.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    version: str
    spec: Json
    status: Json
    requested_at: str | None = None
    deleting: bool = False
    created: str = ""
    approved: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A Job that the operator created.

    Attributes:
        failed: Reason and message of the Failed condition, None while there is none.
        prepared: Digest that a measure Job starts from.
        source: The model file, as the preparation before a measure Job described it.
        result: Digest of the result.json that a report Job starts from.
        measured_by: Optimizer image behind that result; of other Jobs, the image that they run.
        served: That result's figures had been served from the store to the target's Job.
        expires: It has a ttlSecondsAfterFinished.
        stage, profile: As its labels say, in lowercase; an older version gave it no profile.
        ended: When it finished; None where it has not, or does not say.
        started: When the Job controller began it, after its time in a queue; None before.
        suspended: It starts no Pods; Kueue suspends a Job while it is queued.
        attempt: Of a Job that publishes: how many were made before it for the same work.
        trace: Its span; None where it is not traced.
    """

    namespace: str
    name: str
    uid: str
    version: str
    owner_uid: str
    owner_name: str
    created: datetime
    completed: datetime | None = None
    failed: tuple[str, str] | None = None
    prepared: str | None = None
    source: SourceInfo | None = None
    result: str | None = None
    expires: bool = False
    deleting: bool = False
    stage: str = ""
    profile: str = ""
    ended: datetime | None = None
    measured_by: str = ""
    served: bool = False
    started: datetime | None = None
    suspended: bool = False
    attempt: int = 0
    trace: TraceContext | None = None

    @property
    def finished(self) -> bool:
        return self.completed is not None or self.failed is not None


@dataclass(frozen=True, slots=True)
class Termination:
    """How the container ended."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod of one of those Jobs.

    Attributes:
        reason: status.reason, such as DeadlineExceeded or Evicted.
        waiting: Reason and message of the container, where it has not started.
        unschedulable: The scheduler's message; None where it has not refused the Pod.
        disrupted: Evicted or preempted (DisruptionTarget).
        ends: When it is to have ended, where it is being deleted (deletionTimestamp, which has the
            grace period in it).
        node: Where it runs; empty before it is scheduled.
        scheduled: When it was; None before.
        began, ended: When the container began and ended; None before.
        memory_limit: Of the optimizer's container, as a quantity; empty for none.
        stage, profile: As those of its Job.
    """

    namespace: str
    name: str
    uid: str
    version: str
    owner_name: str
    job_uid: str
    created: datetime
    phase: str
    reason: str = ""
    message: str = ""
    waiting: tuple[str, str] | None = None
    unschedulable: str | None = None
    terminated: Termination | None = None
    disrupted: bool = False
    ends: datetime | None = None
    node: str = ""
    scheduled: datetime | None = None
    began: datetime | None = None
    ended: datetime | None = None
    memory_limit: str = ""
    stage: str = ""
    profile: str = ""

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def exceeded_deadline(self) -> bool:
        """Whether the kubelet ended it for its activeDeadlineSeconds."""
        return self.phase == "Failed" and self.reason == "DeadlineExceeded"


class Held(NamedTuple):
    """Why Kueue does not admit a Job.

    Attributes:
        out_of_order: Its queue is not there or is stopped: it is not a matter of its turn.
    """

    message: str
    out_of_order: bool = False


@dataclass(frozen=True)
class Snapshot:
    """All that is known around one resource."""

    resource: Resource
    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    # Why the Job controller could not create a Job's Pod, by the Job's UID.
    warnings: Mapping[str, str] = field(default_factory=dict)
    # Why Kueue does not admit a Job, by the Job's UID.
    held: Mapping[str, Held] = field(default_factory=dict)
    # Why the API server did not admit a Job, by the Job's name: HTTP status and message.
    refusals: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    # Jobs that are to give way to another on their node, by their UIDs: the node.
    crowded: Mapping[str, str] = field(default_factory=dict)
    # Nodes on which something is measured or built.
    nodes: tuple[str, ...] = ()
    # It is this resource's turn to have results of another optimizer replaced.
    may_rerun: bool = True
    # Why Jobs have to wait before they are created, by the Job's name.
    waits: Mapping[str, str] = field(default_factory=dict)
    # What the results of all resources have told of images, nodes and data.
    told: Told = field(default_factory=Told)
    # Of its namespace; None where no profile asks for them, or they cannot be read.
    namespace_labels: Mapping[str, str] | None = None

    def pods_of(self, job: Job) -> list[Pod]:
        """Return a Job's Pods, oldest first, without those of an earlier Job of the same name."""
        pods = [pod for pod in self.pods if pod.job_uid == job.uid]
        return sorted(pods, key=lambda pod: (pod.created, pod.name))


class Said(NamedTuple):
    """What a condition of a ModelOptimization says; Unknown without a reason where it has none."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""


def condition_of(status: Raw, kind: str) -> Said:
    """Return what a status says by the condition of a type."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            return Said(*(condition.get(key, "") for key in ("status", "reason", "message")))
    return Said()


def ready_condition(status: Raw) -> Said:
    """Return the Ready condition of a status; Unknown before the first decision."""
    return condition_of(status, "Ready")


def is_selected(raw: Raw) -> bool:
    """Tell whether the watches of Jobs and Pods show an object."""
    return LABEL_UID in (raw["metadata"].get("labels") or {})


def _shared(text: str) -> str:
    """Return the one copy of a text that many objects hold: names, UIDs, images, nodes."""
    return sys.intern(text)


def _controller(metadata: Raw) -> Raw:
    owners = metadata.get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def _condition(raw: Raw, kind: str) -> Raw | None:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)


def observe_resource(raw: Raw) -> Resource:
    """Reduce a ModelOptimization."""
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") or {}
    requested = annotations.get(REQUESTED_AT_ANNOTATION)
    approved = annotations.get(APPROVE_ANNOTATION)
    return Resource(
        namespace=_shared(metadata["namespace"]),
        name=_shared(metadata["name"]),
        uid=_shared(metadata["uid"]),
        generation=metadata["generation"],
        version=metadata["resourceVersion"],
        spec=dict(raw.get("spec") or {}),
        status=dict(raw.get("status") or {}),
        requested_at=requested[:MAX_REQUESTED_AT] if requested else None,
        deleting="deletionTimestamp" in metadata,
        created=metadata.get("creationTimestamp", ""),
        approved=approved[:MAX_APPROVED] if approved else None,
    )


def _source(text: str | None) -> SourceInfo | None:
    """Return what an annotation says of the model; None where it cannot be read."""
    try:
        return cleaned(SourceInfo.model_validate_json(text), longer=False) if text else None
    except ValidationError:
        return None


def _digest(text: str | None) -> str | None:
    """Return the digest in an annotation; None where somebody has put something else there."""
    return text if text and _DIGEST.fullmatch(text) else None


def _number(text: str | None) -> int:
    """Return the number in an annotation; 0 where there is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def observe_job(raw: Raw) -> Job:
    """Reduce a batch/v1 Job."""
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    status = raw.get("status") or {}
    complete, failed = _condition(raw, "Complete"), _condition(raw, "Failed")
    completed = None
    if complete is not None:
        time = status.get("completionTime") or complete.get("lastTransitionTime")
        completed = parse_time(time or metadata["creationTimestamp"])
    ended = completed
    if failed is not None and failed.get("lastTransitionTime"):
        ended = parse_time(failed["lastTransitionTime"])
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    image = next((c.get("image", "") for c in containers if c["name"] == CONTAINER), "")
    return Job(
        namespace=_shared(metadata["namespace"]),
        name=metadata["name"],
        uid=_shared(metadata["uid"]),
        version=metadata["resourceVersion"],
        owner_uid=_shared(_controller(metadata).get("uid", "")),
        owner_name=_shared(labels.get(LABEL_NAME, "")),
        created=parse_time(metadata["creationTimestamp"]),
        completed=completed,
        failed=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        prepared=_digest(annotations.get(ANNOTATION_PREPARED)),
        source=_source(annotations.get(ANNOTATION_SOURCE)),
        result=_digest(annotations.get(ANNOTATION_RESULT)),
        expires=spec.get("ttlSecondsAfterFinished") is not None,
        deleting="deletionTimestamp" in metadata,
        stage=_shared(labels.get(LABEL_STAGE, "")),
        profile=_shared(labels.get(LABEL_PROFILE, "")),
        ended=ended,
        measured_by=_shared(one_line(annotations.get(ANNOTATION_MEASURED_BY) or image, MAX_IMAGE)),
        served=ANNOTATION_SERVED in annotations,
        started=parse_time(begun) if (begun := status.get("startTime")) else None,
        suspended=spec.get("suspend") is True,
        attempt=_number(annotations.get(ANNOTATION_ATTEMPT)),
        trace=trace_context(annotations.get(ANNOTATION_TRACEPARENT)),
    )


def _memory_limit(spec: Raw) -> str:
    container: Raw = next((c for c in spec.get("containers") or () if c["name"] == CONTAINER), {})
    return str(((container.get("resources") or {}).get("limits") or {}).get("memory", ""))


def observe_pod(raw: Raw) -> Pod:
    """Reduce a Pod."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels = metadata.get("labels") or {}
    containers = status.get("containerStatuses") or ()
    state = next((c.get("state") or {} for c in containers if c["name"] == CONTAINER), {})
    waiting, ended = state.get("waiting"), state.get("terminated")
    began = (ended or state.get("running") or {}).get("startedAt")
    over = (ended or {}).get("finishedAt")
    scheduled: Raw = next(
        (c for c in status.get("conditions") or () if c["type"] == "PodScheduled"), {}
    )
    since = scheduled.get("lastTransitionTime") if scheduled.get("status") == "True" else None
    refused = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return Pod(
        namespace=_shared(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        owner_name=_shared(labels.get(LABEL_NAME, "")),
        job_uid=_shared(_controller(metadata).get("uid", "")),
        created=parse_time(metadata["creationTimestamp"]),
        phase=_shared(status.get("phase", "Pending")),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else None,
        unschedulable=scheduled.get("message", "") if refused else None,
        terminated=Termination(
            exit_code=ended["exitCode"],
            reason=ended.get("reason", ""),
            message=ended.get("message", ""),
        )
        if ended
        else None,
        disrupted=_condition(raw, "DisruptionTarget") is not None,
        ends=parse_time(deleted) if (deleted := metadata.get("deletionTimestamp")) else None,
        node=_shared((raw.get("spec") or {}).get("nodeName", "")),
        scheduled=parse_time(since) if since else None,
        began=parse_time(began) if began else None,
        ended=parse_time(over) if over else None,
        memory_limit=_shared(_memory_limit(raw.get("spec") or {})),
        stage=_shared(labels.get(LABEL_STAGE, "")),
        profile=_shared(labels.get(LABEL_PROFILE, "")),
    )
