"""Kubernetes Events on the resource: one for each step, created once. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime

from mopt_api.base import API_VERSION, KIND
from mopt_api.status import ConditionType
from mopt_api.text import one_line
from mopt_operator.objects import Json, Raw, Resource, ready_condition
from mopt_operator.times import timestamp

COMPONENT = "mopt-operator"
MAX_EVENT_MESSAGE = 1024


def event(resource: Resource, *, reason: str, message: str, normal: bool, now: datetime) -> Json:
    """Return an Event; the same step of the same run has the same name, so it is created once."""
    message = one_line(message, MAX_EVENT_MESSAGE)
    identity = "\n".join(
        [resource.uid, str(resource.generation), resource.requested_at or "", reason, message]
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    time = timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{resource.name}.{digest}", "namespace": resource.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": resource.namespace,
            "name": resource.name,
            "uid": resource.uid,
        },
        "reason": reason,
        "message": message,
        "type": "Normal" if normal else "Warning",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def step_event(resource: Resource, status: Raw, now: datetime) -> Json | None:
    """Return the Event for a new status; None where Ready says the same for the same reason, and
    the run is as much at its end as before."""
    before, after = ready_condition(resource.status), ready_condition(status)
    ended = _is_stalled(status) and not _is_stalled(resource.status)
    if not ended and (before.status, before.reason) == (after.status, after.reason):
        return None
    normal = after.status != "False"
    return event(resource, reason=after.reason, message=after.message, normal=normal, now=now)


def _is_stalled(status: Raw) -> bool:
    conditions = status.get("conditions") or ()
    return any(c["type"] == ConditionType.STALLED and c["status"] == "True" for c in conditions)
