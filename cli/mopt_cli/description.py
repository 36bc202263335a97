"""All that a resource says of itself, its forms and its Events: `mopt describe`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.base import REQUESTED_AT_ANNOTATION
from mopt_api.status import ModelOptimizationStatus, TargetStatus
from mopt_api.text import cleaned, cleaned_value, one_line

from .durations import age
from .judgements import Bounds, Judged, why
from .model_optimization import ModelOptimization, time_of_event
from .plain_table import add_row, plain_table
from .recommendation_table import render_recommendation
from .table import place, render_target

Raw = Mapping[str, Any]

_MOST_EVENTS = 20


@dataclass(frozen=True)
class Description:
    """A resource with what belongs to it.

    Attributes:
        events: The oldest first; None where they may not be read.
        now: With its zone.
    """

    resource: ModelOptimization
    events: Sequence[Raw] | None
    now: datetime

    @property
    def bounds(self) -> Bounds:
        """What its spec asks of a winner."""
        return Bounds.of(self.resource.raw.get("spec") or {})

    def to_api(self) -> dict[str, Any]:
        """Return it for programs: status, and how each form stands to each bound."""
        bounds = self.bounds
        return {
            "name": self.resource.name,
            "namespace": self.resource.namespace,
            "suspended": self.resource.suspended,
            "status": self.resource.raw.get("status") or {},
            "judgements": {
                target.name: [
                    {
                        "variant": form.name,
                        "bounds": [
                            {"bound": name, "value": found.text, "passed": found.passed}
                            for name, found in zip(bounds.names, bounds.judge(form), strict=True)
                        ],
                        "why": why(form, target, bounds.objective),
                    }
                    for form in target.everyone
                ]
                for target in self.resource.status.targets
            },
            "events": None if self.events is None else [_event(raw) for raw in self.events],
        }

    def render(self) -> RenderableType:
        """Return it for a terminal."""
        status = cleaned(self.resource.status)
        parts: list[RenderableType] = [self._facts(status), *self._conditions(status)]
        for target in status.targets:
            parts += ["", *self._target(target)]
        if status.recommendation is not None:
            parts += ["", _heading("Recommendation"), render_recommendation(status.recommendation)]
        return Group(*parts, "", _heading("Events"), self._events())

    def _facts(self, status: ModelOptimizationStatus) -> Table:
        metadata = self.resource.raw["metadata"]
        spec = self.resource.raw.get("spec") or {}
        generation, seen = metadata.get("generation"), status.observed_generation
        model, source = spec.get("model") or {}, status.source
        asked = (metadata.get("annotations") or {}).get(REQUESTED_AT_ANNOTATION)
        behind = "" if seen == generation else f", the operator has seen {seen}"
        size = f", {source.size_bytes / 2**20:.2f} MiB" if source else ""
        facts = {
            "Name": f"{self.resource.namespace}/{self.resource.name}",
            "Age": age(metadata.get("creationTimestamp"), self.now),
            "Generation": f"{generation}{behind}",
            "Suspended": "yes: mopt resume lets its Jobs run" if self.resource.suspended else "",
            "Run asked for": asked or "",
            "Model": f"{model['uri']} ({model.get('format', '')}{size})" if model else "",
            "SHA-256": model.get("sha256", ""),
            "Output": (spec.get("output") or {}).get("uri", ""),
            "Objective": self.bounds.objective.metric if self.bounds.known else "",
        }
        rows = Table.grid(padding=(0, 2))
        for what, text in facts.items():
            if text:
                rows.add_row(Text(what, style="bold"), Text(one_line(str(text)), overflow="fold"))
        return rows

    def _conditions(self, status: ModelOptimizationStatus) -> list[RenderableType]:
        if not status.conditions:
            return ["", Text("Conditions: none; the operator has not seen it yet")]
        rows = plain_table("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE", wrapped=["MESSAGE"])
        for each in status.conditions:
            since = age(each.last_transition_time, self.now)
            add_row(rows, each.type, each.status, each.reason, since, each.message)
        return ["", _heading("Conditions"), rows]

    def _target(self, target: TargetStatus) -> list[RenderableType]:
        metric = self.bounds.objective.metric if self.bounds.known else None
        parts = [render_target(target, metric=metric), self._judgements(target)]
        if (served := target.artifact) is not None:
            since = age(served.time, self.now)
            text = f"{served.variant}, {served.format}, {served.size_bytes / 2**20:.2f} MiB"
            parts.append(place("artifact", f"{served.digest}: {text}, selected {since} ago"))
        if (published := target.published) is not None:
            signed = "signed" if published.signed else "not signed"
            since = age(published.time, self.now)
            parts.append(place("published", f"{published.reference}, {signed}, {since} ago"))
        return parts

    def _judgements(self, target: TargetStatus) -> RenderableType:
        bounds = self.bounds
        if not bounds.known:
            return Text("gates: spec is one of a newer version of mopt", style="yellow")
        rows = plain_table("VARIANT", *bounds.names, "WHY", wrapped=["WHY"])
        for form in target.everyone:
            cells = [_cell(found) for found in bounds.judge(form)]
            name = Text(form.name, style="bold green" if form.name == target.selected else "")
            told = why(form, target, bounds.objective)
            if form.reason and form.message:
                told = f"{form.state}: {form.reason}, as said above"
            add_row(rows, name, *cells, told)
        return rows

    def _events(self) -> RenderableType:
        if self.events is None:
            return Text("you may not list events in this namespace", style="yellow")
        if not self.events:
            return Text("none; the API server keeps them for an hour")
        headings = ("LAST SEEN", "TYPE", "REASON", "COUNT", "MESSAGE")
        rows = plain_table(*headings, wrapped=["MESSAGE"])
        for raw in self.events[-_MOST_EVENTS:]:
            found = cleaned_value(_event(raw))
            since, count = age(found["time"], self.now), str(found["count"])
            add_row(rows, since, found["type"], found["reason"], count, found["message"])
        return rows


def _event(raw: Raw) -> dict[str, Any]:
    return {
        "time": time_of_event(raw),
        "type": str(raw.get("type") or ""),
        "reason": str(raw.get("reason") or ""),
        "message": str(raw.get("message") or ""),
        "count": int(raw.get("count") or 1),
    }


def _cell(found: Judged) -> Text:
    missed = found.passed is False
    style = {True: "green", False: "yellow", None: "dim"}[found.passed]
    return Text(f"{found.text} MISSED" if missed else found.text, style=style)


def _heading(text: str) -> Text:
    return Text(text, style="bold")
