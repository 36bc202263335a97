"""Kubernetes Events on the resource: one for each step, created once. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime

from mopt_api.base import API_VERSION, KIND
from mopt_api.reasons import Reason
from mopt_api.status import ConditionType
from mopt_api.text import one_line
from mopt_operator.objects import Json, Raw, Resource, condition_of, ready_condition
from mopt_operator.times import timestamp

COMPONENT = "mopt-operator"
MAX_EVENT_MESSAGE = 1024
# What goes on by itself, or stands still because spec says so.
_NO_NEWS = frozenset({Reason.PUBLISHING, Reason.NOTHING_SELECTED, Reason.SUSPENDED})
_GOOD_NEWS = frozenset({Reason.PUBLISHED, Reason.AWAITING_APPROVAL})


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


def publish_event(resource: Resource, status: Raw, now: datetime) -> Json | None:
    """Return the Event for a new status in which something was published, waits for approval or
    cannot be published; None where that was so before, or the Event of Ready tells it."""
    before, after = (
        condition_of(told, ConditionType.PUBLISHED) for told in (resource.status, status)
    )
    if not after.reason or after.reason in _NO_NEWS:
        return None
    if after.reason == ready_condition(status).reason:
        return None
    if after.reason == Reason.PUBLISHED:
        known = _published(resource.status) == _published(status)
    elif after.reason == Reason.AWAITING_APPROVAL:
        known = after == before
    else:
        # A reason stays until an attempt succeeds; what each of them says may differ.
        known = after.reason == before.reason
    if known:
        return None
    normal = after.reason in _GOOD_NEWS
    return event(resource, reason=after.reason, message=after.message, normal=normal, now=now)


def _published(status: Raw) -> dict[str, object]:
    """Return what was published, by the targets' names."""
    targets = status.get("targets") or ()
    return {t["name"]: t["published"] for t in targets if t.get("published")}


def _is_stalled(status: Raw) -> bool:
    conditions = status.get("conditions") or ()
    return any(c["type"] == ConditionType.STALLED and c["status"] == "True" for c in conditions)
