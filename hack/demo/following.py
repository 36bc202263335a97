"""Follows the resource until it is done, for as long as there is progress, however slow that is."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from mopt_api.labels import LABEL_NAME
from mopt_api.log_lines import parse_line
from mopt_api.reasons import Reason

from .console import DemoError, Kubectl, say

STUCK_SECONDS = 900.0
"""A status and logs that stay the same for so long go on no more: the longest silent step, a
compilation, takes minutes on a slow machine."""
LOOK_SECONDS = 1.0
LOG_SECONDS = 15.0
_LONGEST = 160


@dataclass
class Patience:
    """Notices that nothing changes any more.

    Attributes:
        seconds: How long nothing may change.
    """

    seconds: float
    _seen: object = None
    _since: float = 0.0

    def is_out(self, seen: object, now: float) -> bool:
        """Tell whether what is seen has been the same for too long."""
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > self.seconds


def headline(resource: dict[str, Any]) -> tuple[str, bool]:
    """Return a resource's state in one line, and whether it is final."""
    status = resource.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    ready = conditions.get("Ready")
    if ready is None or status.get("observedGeneration") != resource["metadata"]["generation"]:
        return "waiting for the operator", False
    progress = status.get("progress")
    done = f" ({progress['targetsDone']} of {progress['targetsTotal']})" if progress else ""
    line = f"{ready['reason']}{done}: {ready['message']}"
    published = conditions.get("Published")
    if ready["status"] == "True" and published and published["status"] != "True":
        said = f"{published['reason']}: {published['message']}"
        return said, published["reason"] == Reason.INVALID_SPEC  # Tried again for any other.
    return line, ready["status"] == "True" or "Stalled" in conditions


def follow(kubectl: Kubectl, kind: str, name: str, namespace: str) -> dict[str, Any]:
    """Follow a resource until it is Ready and published, or refused; print each change, and now
    and then what its Job is at.

    Raises:
        DemoError: Nothing has changed for STUCK_SECONDS.
    """
    patience = Patience(STUCK_SECONDS)
    shown = logged = told = ""
    looked = time.monotonic()
    while True:
        resource = kubectl.get(kind, name, "-n", namespace)
        line, final = headline(resource)
        if line != shown:
            say(line)
            shown = line
        if final:
            return resource
        if time.monotonic() - looked > LOG_SECONDS:
            looked, logged = time.monotonic(), last_line(kubectl, name, namespace)
            if logged and logged != told:
                say(f"  {logged}")
                told = logged
        if patience.is_out((shown, logged), time.monotonic()):
            raise DemoError(
                f"{name} has not gone on for {STUCK_SECONDS:.0f} s; last: {shown} {logged}\n"
                "Its Jobs stay in the cluster: `make demo` again goes on from here, and "
                f"`kubectl describe pods -n {namespace}` says what they wait for"
            )
        time.sleep(LOOK_SECONDS)


def last_line(kubectl: Kubectl, name: str, namespace: str) -> str:
    """Return what a Job of a resource has said last; empty where none runs."""
    with contextlib.suppress(DemoError):  # It may not have started, or be gone by now.
        pods = kubectl.get("pods", "-n", namespace, "-l", f"{LABEL_NAME}={name}").get("items", [])
        running = [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]
        if running:
            return in_words(kubectl("logs", running[-1], "-n", namespace, "--tail=1"))
    return ""


def in_words(line: str) -> str:
    """Return what a line of a Job's log says."""
    said = parse_line(line.strip())
    text = line.strip() if said is None else f"{said.step}: {said.message}"
    return text[:_LONGEST]
