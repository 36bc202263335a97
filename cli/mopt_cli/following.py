"""The state of a watched resource, built up from events. Pure: neither clock nor cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from mopt_api.log_lines import parse_line
from mopt_api.text import one_line, plain

from ._errors import ExitCode
from .observed import ObservedPod, ObservedResource, observe_pod, observe_resource
from .progress import Progress, picture

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class ResourceSeen:
    """The resource as it is; None where it was deleted."""

    raw: Raw | None


@dataclass(frozen=True)
class PodsSeen:
    """All Pods of resources of that name, as they are."""

    raws: Sequence[Raw]


@dataclass(frozen=True)
class LogSaid:
    """A line of a Pod's log.

    Attributes:
        stamp: Nanoseconds since the epoch at which the node took the line; each has its own.
    """

    pod: str
    stamp: int
    text: str


@dataclass(frozen=True)
class Troubled:
    """Something does not work; everything else continues.

    Attributes:
        what: What fails; reported once, however many need it.
        message: What went wrong; None where it works again.
        who: The task that reports it.
    """

    what: str
    message: str | None
    who: str = ""


Event = ResourceSeen | PodsSeen | LogSaid | Troubled


@dataclass(frozen=True)
class Line:
    """Something new, as text.

    Attributes:
        foreign: Printed by a library.
    """

    text: str
    foreign: bool = False


@dataclass
class _Work:
    """What one stage does for one target: its newest Pod and what it reported."""

    pod: ObservedPod
    progress: Progress
    said: set[str] = field(default_factory=set)


def parse_said(pod: str, line: bytes) -> LogSaid | None:
    """Return a line of a Pod's log; None where no time stands before it.

    Args:
        pod: Its uid.
        line: As the kubelet writes it: RFC 3339 with nanoseconds, a space, the text.
    """
    time, _, text = line.decode(errors="replace").partition(" ")
    seconds, _, rest = time.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        whole = datetime.fromisoformat(seconds + rest[len(digits) :])
    except ValueError:
        return None
    if whole.tzinfo is None:
        return None
    nanoseconds = int(digits[:9].ljust(9, "0")) if digits else 0
    return LogSaid(pod, int(whole.timestamp()) * 1_000_000_000 + nanoseconds, text)


class Following:
    """A watched resource: give it each event, and it returns what is new."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._resource: ObservedResource | None = None
        self._headline = ""
        self._pods: Sequence[Raw] = ()
        self._works: dict[tuple[str, str], _Work] = {}
        self._stamps: dict[str, int] = {}
        self._troubles: dict[tuple[str, str], str] = {}
        self.ended: ExitCode | None = None
        """How it came out; None while there is something to wait for."""

    @property
    def headline(self) -> str:
        """Its state, for people; empty before it was seen."""
        return self._headline

    def update(self, event: Event) -> list[Line]:
        """Take in an event; return the lines that are new."""
        match event:
            case LogSaid():
                return self._hear(event)
            case PodsSeen(raws):
                self._pods = raws
                lines = self._see_pods()
                return lines if self.ended is None else []
            case ResourceSeen(raw) if self.ended is None:
                return self._see_resource(raw)
            case Troubled() if self.ended is None:
                return self._note_trouble(event)
        return []

    def _see_resource(self, raw: Raw | None) -> list[Line]:
        if raw is None:
            self.ended = ExitCode.FAILED
            self._headline = "deleted before it finished"
            return [Line(f"{self._name}: {self._headline}")]
        before, now = self._resource, observe_resource(raw)
        self._resource, self.ended = now, now.ended
        if before is None or (before.uid, before.generation) != (now.uid, now.generation):
            self._works.clear()
        lines = []
        if before is not None and before.uid != now.uid:
            lines.append(Line(f"{self._name}: deleted and created again"))
        if now.headline != self._headline:
            self._headline = now.headline
            lines.append(Line(f"{self._name}: {now.headline}"))
        return lines + self._see_pods()

    def _see_pods(self) -> list[Line]:
        """Find each stage's newest Pod, by target."""
        if self._resource is None:
            return []
        observed = [observe_pod(raw) for raw in self._pods]
        owned = [pod for pod in observed if pod.owner_uid == self._resource.uid]
        newest = {(p.stage, p.target): p for p in sorted(owned, key=lambda p: (p.created, p.name))}
        lines = []
        for key in [k for k in self._works if k not in newest]:
            if not self._works[key].pod.succeeded:
                del self._works[key]
        for key, pod in newest.items():
            work = self._works.get(key)
            if work is None or work.pod.uid != pod.uid:
                if work is not None:
                    text = f"Pod {pod.name} in place of {work.pod.name}"
                    lines.append(Line(f"{pod.work}: {text}"))
                self._works[key] = work = _Work(pod, Progress(pod.target))
            work.pod = pod
            # The kubelet alternates between an error and waiting before it tries again.
            if pod.state not in work.said:
                work.said.add(pod.state)
                lines.append(Line(f"{pod.work}: Pod {pod.name}: {pod.state}"))
        return lines

    def _hear(self, event: LogSaid) -> list[Line]:
        work = next((w for w in self._works.values() if w.pod.uid == event.pod), None)
        if work is None or event.stamp <= self.heard(event.pod):
            return []
        self._stamps[event.pod] = event.stamp
        line = parse_line(event.text)
        if line is None:
            text = plain(event.text).rstrip()
            return [Line(f"{work.pod.work} | {text}", foreign=True)] if text else []
        return [Line(work.progress.update(work.pod.stage, line, event.stamp / 1e9))]

    def _note_trouble(self, event: Troubled) -> list[Line]:
        """Return a line for the first failure of a thing, and for the end of the last."""
        key = (event.what, event.who)
        known = self._troubles.pop(key, None) is not None
        others = any(what == event.what for what, _ in self._troubles)
        if event.message is not None:
            self._troubles[key] = one_line(event.message)
        if known == (event.message is not None) or others:
            return []
        return [Line(one_line(event.message or f"{event.what}: works again"))]

    def heard(self, pod: str) -> int:
        """Return the stamp of the last line of a Pod's log, by its uid; 0 before the first."""
        return self._stamps.get(pod, 0)

    def speaking(self) -> list[ObservedPod]:
        """Return the Pods whose logs are to be read: the newest of each stage and target."""
        return [work.pod for work in self._works.values() if work.pod.started]

    def pod(self, uid: str) -> ObservedPod | None:
        """Return the current state of a Pod; None where it has been replaced or is gone."""
        return next((w.pod for w in self._works.values() if w.pod.uid == uid), None)

    def render(self, now: float) -> RenderableType:
        """Return what a terminal shows.

        Args:
            now: Seconds since the epoch.
        """
        wrong = self._resource is not None and self._resource.wrong
        works = list(self._works.values())
        waiting = [
            Text(one_line(f"{w.pod.work}: Pod {w.pod.name}: {w.pod.state}"), style="yellow")
            for w in works
            if not w.pod.at_work and not w.pod.succeeded
        ]
        return Group(
            Text(f"{self._name}: {self._headline}", style="bold yellow" if wrong else "bold"),
            *waiting,
            picture([work.progress for work in works], now),
            *(
                Text(message, style="yellow")
                for message in dict.fromkeys(self._troubles.copy().values())
            ),
        )
