"""Statuses of Pods that wait, as kubelets and schedulers write them."""

from __future__ import annotations

from typing import Any


def waiting(reason: str, message: str) -> dict[str, Any]:
    """Return the status of a Pod whose container waits for what a reason names."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "optimizer", "state": state}]}


def unschedulable(message: str) -> dict[str, Any]:
    """Return the status of a Pod that fits no node, in the scheduler's words."""
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"phase": "Pending", "conditions": [refused | {"message": message}]}
