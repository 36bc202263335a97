"""A ModelOptimization as the API server returned it, with its status in types. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mopt_api.status import Condition, ConditionType, ModelOptimizationStatus, TargetStatus

from ._errors import ExitCode
from .observed import observe_resource
from .selections import status_of, target_of


@dataclass(frozen=True)
class ModelOptimization:
    """One resource, as it was at that moment.

    Attributes:
        raw: All of it, as JSON.
    """

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.raw["metadata"].get("namespace", ""))

    @property
    def suspended(self) -> bool:
        """Whether its spec says that no Jobs run."""
        execution = (self.raw.get("spec") or {}).get("execution") or {}
        return bool(execution.get("suspend"))

    @cached_property
    def status(self) -> ModelOptimizationStatus:
        """Its status, which may be of an earlier generation of spec: see outcome.

        Raises:
            CliError: It is none.
        """
        return status_of(self.raw)

    @property
    def outcome(self) -> ExitCode | None:
        """How it came out, as the exit status of `mopt watch`; None while there is something to
        wait for."""
        return observe_resource(self.raw).ended

    @property
    def ready(self) -> bool:
        """Whether it is Ready, for the present spec and the last run that was asked for."""
        return self.outcome is ExitCode.DONE

    @property
    def message(self) -> str:
        """Its state, for people."""
        return observe_resource(self.raw).headline

    def condition(self, kind: ConditionType) -> Condition | None:
        """Return a condition; None where it has none of that type."""
        return next((c for c in self.status.conditions if c.type == kind), None)

    def target(self, name: str | None = None) -> TargetStatus:
        """Return the result for a target, or for the only one.

        Raises:
            NothingSelected: No target has a result yet.
            CliError: There is no such target; or several, and none was named.
        """
        return target_of(self.raw, name)


def time_of_event(raw: Mapping[str, Any]) -> str:
    """Return when an Event was last seen, RFC 3339; empty where it does not say."""
    metadata = raw.get("metadata") or {}
    known = (raw.get("lastTimestamp"), raw.get("eventTime"), metadata.get("creationTimestamp"))
    return str(next(filter(None, known), ""))
