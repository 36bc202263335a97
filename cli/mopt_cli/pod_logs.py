"""The logs of a resource's Pods: which are shown, and how a line of them reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mopt_api.log_lines import parse_line
from mopt_api.text import cleaned, one_line, plain

from .following import Event, Following, Line, LogSaid
from .observed import ObservedPod, observe_pod

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class LogFilter:
    """Which logs are shown, and how.

    Attributes:
        stage, target: None is any.
        raw: As the Job wrote it, for programs.
    """

    stage: str | None = None
    target: str | None = None
    raw: bool = False

    def fits(self, pod: ObservedPod) -> bool:
        """Return whether the log of a Pod is shown; one that serves all targets suits any."""
        targets = (None, pod.target) if pod.target else (None, self.target)
        return self.stage in (None, pod.stage) and self.target in targets

    def shown(self, pod: ObservedPod, text: str) -> str:
        """Return a line of a Pod's log for the terminal."""
        if self.raw:
            return plain(text)
        line = parse_line(text)
        if line is None:
            return f"{one_line(pod.work)} | {plain(text).rstrip()}"
        line = cleaned(line)
        step = "" if line.step == pod.stage else f" {line.step}"
        took = "" if line.seconds is None else f" ({line.seconds:.1f} s)"
        return f"{one_line(pod.work)}{step}: {line.message}{took}"


def pods_of(raws: Iterable[Raw], uid: str) -> list[ObservedPod]:
    """Return the Pods of a resource's Jobs, the oldest first.

    Args:
        uid: The resource's: those of an earlier one of its name are left out.
    """
    found = [pod for pod in map(observe_pod, raws) if pod.owner_uid == uid]
    return sorted(found, key=lambda pod: (pod.created, pod.name))


def known_works(pods: Iterable[ObservedPod]) -> str:
    """Return the stages and targets that there are Pods of, for messages."""
    return ", ".join(dict.fromkeys(one_line(pod.work) for pod in pods)) or "none"


@dataclass(frozen=True)
class LogText(Line):
    """A line of a log, as it is shown."""


class LogFollowing(Following):
    """A resource whose logs are shown, line by line; everything else is a remark."""

    def __init__(self, name: str, wanted: LogFilter) -> None:
        super().__init__(name)
        self._wanted = wanted

    def update(self, event: Event) -> list[Line]:
        """Take in an event; return the lines that are new, those of logs as LogText."""
        new = super().update(event)
        if not isinstance(event, LogSaid):
            return new
        pod = self.pod(event.pod)
        return [LogText(self._wanted.shown(pod, event.text))] if pod is not None and new else []

    def speaking(self) -> list[ObservedPod]:
        """Return the Pods whose logs are to be read."""
        return [pod for pod in super().speaking() if self._wanted.fits(pod)]
