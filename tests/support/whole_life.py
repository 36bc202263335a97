"""A resource from its first Job to its last, whatever happens to the operator meanwhile."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable

from job_messages import Messages
from light_cluster import Resource

OPTIMIZED = {"Ready": ("True", "Optimized")}
# What a machine under load may need for a life with a restart or two.
PATIENCE = 120.0
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def play_kubelet(resource: Resource, messages: Messages) -> None:
    """Let each Pod that waits succeed."""
    for pod in resource.pods():
        if pod["status"]["phase"] == "Pending":
            target = pod["metadata"]["labels"].get("mopt.dev/target")
            resource.finish(pod, messages.measure(target) if target else messages.prepare())


def live(
    resource: Resource,
    messages: Messages,
    meanwhile: Callable[[], object] = lambda: None,
    seconds: float = PATIENCE,
) -> None:
    """Play the kubelet until the resource is Ready and all of its Jobs may expire."""

    def look() -> bool:
        meanwhile()
        play_kubelet(resource, messages)
        return resource.said() == OPTIMIZED and all(
            "ttlSecondsAfterFinished" in job["spec"] for job in resource.jobs()
        )

    resource.wait_for(look, seconds)


def jobs_made(resource: Resource) -> list[str]:
    """Return the target of each Job, `prepare` for the first one."""
    labels = [job["metadata"]["labels"] for job in resource.jobs()]
    return sorted(label.get("mopt.dev/target", "prepare") for label in labels)


def end_state(resource: Resource) -> list[str]:
    """Return the status, line by line, without times and whatever depends on the name.

    Which of two targets ended first is the kubelet's doing: the history is sorted.
    """
    status = resource.read()["status"]
    status["history"].sort(key=lambda entry: entry["target"])
    text = json.dumps(status, sort_keys=True, indent=1)
    return _TIME.sub("TIME", text).replace(resource.name, "NAME").splitlines()


def told(resource: Resource) -> Counter[str]:
    """Return how many Events have each reason."""
    return Counter(event["reason"] for event in resource.events())
