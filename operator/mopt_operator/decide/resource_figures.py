"""What the metrics show of a resource, from its spec and status. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from mopt_api.figures import QualityResult
from mopt_api.spec import QualityGate
from mopt_api.status import Condition, ConditionType, ModelOptimizationStatus
from mopt_operator.objects import Json, Resource
from mopt_operator.times import parse_time

from .request import read_status
from .status import judged_values

# Labels of the quality of a form.
OF_QUALITY = ("metric", "output", "slice", "aggregate")
_GATES = TypeAdapter(list[QualityGate])
# Others' types are not shown: there may be any number of them.
_TYPES = frozenset(ConditionType)


class Selected(NamedTuple):
    """The figures of the form that is selected for a target."""

    target: str
    speedup: float | None
    quality: tuple[tuple[tuple[str, ...], float], ...]  # values of OF_QUALITY


class State(NamedTuple):
    """What a condition says, and since when in seconds of the epoch; None where it is not known."""

    type: str
    status: str
    reason: str
    since: float | None


class ResourceFigures(NamedTuple):
    """What the metrics show of a resource.

    Attributes:
        created: In seconds of the epoch; None where it is not known.
        waiting_since: Since when nothing of its run proceeds; None while something does.
    """

    created: float | None
    states: tuple[State, ...]
    waiting_since: float | None
    selected: tuple[Selected, ...]


def resource_figures(resource: Resource) -> ResourceFigures:
    """Return what the metrics show of a resource."""
    status = read_status(resource).status
    created = _seconds(resource.created)
    progress = status.progress
    return ResourceFigures(
        created=created,
        states=_states(status.conditions, created),
        waiting_since=_seconds(progress.waiting_since) if progress else None,
        selected=_selected(status, _gates(resource.spec)),
    )


def _states(conditions: Sequence[Condition], created: float | None) -> tuple[State, ...]:
    """Return what is said; before the first decision Ready is Unknown since the creation."""
    found = tuple(
        State(said.type, said.status, said.reason, _seconds(said.last_transition_time))
        for said in conditions
        if said.type in _TYPES
    )
    if any(state.type == ConditionType.READY for state in found):
        return found
    return (State(ConditionType.READY.value, "Unknown", "", created), *found)


def _selected(
    status: ModelOptimizationStatus, gates: Sequence[QualityGate]
) -> tuple[Selected, ...]:
    """Return the figures of each target for which a form is selected."""
    return tuple(
        Selected(target.name, chosen.speedup, _values(chosen.quality, gates))
        for target in status.targets
        if (chosen := target.winner) is not None
    )


def _values(
    quality: Sequence[QualityResult], gates: Sequence[QualityGate]
) -> tuple[tuple[tuple[str, ...], float], ...]:
    return tuple(
        ((found.metric.value, found.output or "", found.slice or "", aggregate.value), value)
        for found, aggregate, value in judged_values(quality, gates)
    )


def _gates(spec: Json) -> list[QualityGate]:
    """Return the gates of a spec; none where it is not valid now."""
    try:
        return _GATES.validate_python(spec.get("quality") or [])
    except ValidationError:
        return []


def _seconds(text: str | None) -> float | None:
    """Return a time in seconds of the epoch; None where there is none that can be read."""
    try:
        return parse_time(text).timestamp() if text else None
    except ValueError:
        return None
