"""A ModelOptimization and its Pods, reduced to what `mopt watch` shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mopt_api.base import REQUESTED_AT_ANNOTATION
from mopt_api.labels import CONTAINER, LABEL_STAGE, LABEL_TARGET, LABEL_UID, MAX_REQUESTED_AT
from mopt_api.status import ConditionType
from mopt_api.text import one_line

from ._errors import ExitCode, exit_code_of

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class ObservedResource:
    """A ModelOptimization.

    Attributes:
        headline: Its state, for people.
        wrong: Ready is False, temporarily or finally.
        ended: None while there is something to wait for.
    """

    uid: str
    generation: int
    headline: str
    wrong: bool = False
    ended: ExitCode | None = None


@dataclass(frozen=True)
class ObservedPod:
    """A Pod of one of its Jobs.

    Attributes:
        target: Empty where the stage serves all targets.
        state: Its phase and reason, for people.
        started: Its log exists.
        finished: Its log is complete.
        at_work: Its container is running.
    """

    uid: str
    name: str
    owner_uid: str
    stage: str
    target: str
    created: str
    state: str
    started: bool = False
    finished: bool = False
    at_work: bool = False
    succeeded: bool = False

    @property
    def work(self) -> str:
        """Its stage and target."""
        return f"{self.stage} {self.target}".rstrip()


def observe_resource(raw: Raw) -> ObservedResource:
    """Reduce a ModelOptimization as the API server returns it."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    uid, generation = metadata["uid"], metadata["generation"]
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = conditions.get(ConditionType.READY)
    asked = (metadata.get("annotations") or {}).get(REQUESTED_AT_ANNOTATION) or None
    asked = asked and asked[:MAX_REQUESTED_AT]
    current = status.get("observedGeneration") == generation
    if ready is None or not current or status.get("lastHandledReconcileAt") != asked:
        return ObservedResource(uid, generation, "waiting for the operator")
    progress = status.get("progress")
    done = f" ({progress['targetsDone']} of {progress['targetsTotal']} targets)" if progress else ""
    headline = one_line(f"{ready['reason']}{done}: {ready['message']}")
    ended = None
    if ready["status"] == "True":
        ended = ExitCode.DONE
    elif ConditionType.STALLED in conditions:
        ended = exit_code_of(ready["reason"])
    return ObservedResource(uid, generation, headline, ready["status"] == "False", ended)


def observe_pod(raw: Raw) -> ObservedPod:
    """Reduce a Pod."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels = metadata.get("labels") or {}
    containers = status.get("containerStatuses") or ()
    state: Raw = next((c.get("state") or {} for c in containers if c["name"] == CONTAINER), {})
    ended = state.get("terminated")
    phase = status.get("phase", "Pending")
    return ObservedPod(
        uid=metadata["uid"],
        name=metadata["name"],
        owner_uid=labels.get(LABEL_UID, ""),
        stage=labels.get(LABEL_STAGE, ""),
        target=labels.get(LABEL_TARGET, ""),
        created=metadata["creationTimestamp"],
        state=one_line(_state_text(status, state, phase)),
        started=ended is not None or "running" in state,
        finished=ended is not None or phase in ("Succeeded", "Failed"),
        at_work="running" in state,
        succeeded=phase == "Succeeded",
    )


def _state_text(status: Raw, state: Raw, phase: str) -> str:
    """Return why a Pod has not started or how it ended, after its phase where they differ."""
    parts = [phase]
    if waiting := state.get("waiting"):
        parts += [waiting.get("reason", ""), waiting.get("message", "")]
    elif phase == "Failed":
        parts += [status.get("reason", ""), _how(state.get("terminated") or {})]
    elif not state:
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                parts += [condition.get("reason", ""), condition.get("message", "")]
    return ": ".join(part for part in parts if part)


def _how(ended: Raw) -> str:
    """Return how a container ended; its message is left to the operator."""
    if not ended:
        return ""
    reason = ended.get("reason", "")
    code = f"exit status {ended['exitCode']}"
    return code if reason in ("", "Error") else f"{reason}, {code}"
