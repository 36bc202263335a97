"""A resource and its Pods as the API server shows them, and logs as nodes recorded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAME = "sr"
UID = "uid-of-sr"
LOGS = Path(__file__).resolve().parents[1] / "cli" / "logs"


def resource(
    ready: str | None = "Unknown",
    reason: str = "Preparing",
    message: str = "Exporting",
    *,
    stalled: bool = False,
    progress: tuple[int, int] | None = (0, 1),
    **metadata: Any,
) -> dict[str, Any]:
    """Return a ModelOptimization; ready None is one without status."""
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": message}]
    if stalled:
        conditions.append(conditions[0] | {"type": "Stalled", "status": "True"})
    for condition in conditions:
        condition["lastTransitionTime"] = "2026-11-25T17:00:00Z"
    status: dict[str, Any] = {"observedGeneration": 1, "conditions": conditions}
    if progress is not None:
        done, total = progress
        status["progress"] = {"stage": "Prepare", "targetsDone": done, "targetsTotal": total}
    own = {"name": NAME, "namespace": "team", "uid": UID, "generation": 1} | metadata
    return {"metadata": own, "status": status if ready is not None else {}}


def pod(
    name: str,
    stage: str = "prepare",
    target: str | None = None,
    *,
    phase: str = "Running",
    state: dict[str, Any] | None = None,
    created: str = "2026-11-25T17:26:00Z",
    owner: str = UID,
    **status: Any,
) -> dict[str, Any]:
    """Return a Pod of one of the resource's Jobs; its uid is uid-NAME."""
    labels = {"mopt.dev/name": NAME, "mopt.dev/uid": owner, "mopt.dev/stage": stage}
    if target is not None:
        labels["mopt.dev/target"] = target
    if state is None:
        state = {"running": {"startedAt": created}} if phase == "Running" else {}
    containers = [{"name": "optimizer", "state": state}] if state else []
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": labels,
            "creationTimestamp": created,
        },
        "status": {"phase": phase, "containerStatuses": containers} | status,
    }


def finished(name: str, stage: str = "prepare", target: str | None = None) -> dict[str, Any]:
    """Return a Pod that has succeeded."""
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "message": "mopt1:..."}}
    return pod(name, stage, target, phase="Succeeded", state=state)


def recorded(stage: str) -> list[bytes]:
    """Return the lines of a real Job's log, each with the node's time before it."""
    return (LOGS / f"{stage}.log").read_bytes().splitlines()
