"""Conditions in kstatus' terms, with transition times that do not flap. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from mopt_api.reasons import Reason
from mopt_api.status import Condition, ConditionType, ModelOptimizationStatus
from mopt_api.text import one_line
from mopt_operator.times import timestamp

MAX_CONDITION_MESSAGE = 2048


@dataclass(frozen=True)
class Verdict:
    """How a resource stands.

    Attributes:
        ready: True, False, or None while it is not known yet.
        reason: Reason of Ready, and of Stalled where that is True.
        work: Reason of Reconciling=True; None where nothing more will happen.
        stalled: Only a change to the resource or the cluster can help.
    """

    ready: bool | None
    reason: Reason
    message: str
    work: Reason | None = None
    stalled: bool = False


def conditions(
    verdict: Verdict, previous: Sequence[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """Return the conditions that express a verdict.

    Args:
        previous: See lasting.
        now: In UTC.
    """
    said = partial(
        lasting, message=verdict.message, previous=previous, generation=generation, now=now
    )
    ready = "Unknown" if verdict.ready is None else str(verdict.ready)
    found = [said(ConditionType.READY, verdict.reason, status=ready)]
    if verdict.work is not None:
        found.append(said(ConditionType.RECONCILING, verdict.work))
    if verdict.stalled:
        found.append(said(ConditionType.STALLED, verdict.reason))
    return found


def lasting(
    kind: ConditionType,
    reason: Reason,
    *,
    message: str,
    previous: Sequence[Condition],
    generation: int,
    now: datetime,
    status: str = "True",
) -> Condition:
    """Return a condition, which keeps its transition time while its status stays the same."""
    before = next((c for c in previous if c.type == kind and c.status == status), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=one_line(message, MAX_CONDITION_MESSAGE),
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before else timestamp(now),
    )


def foreign(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions that are not this version's: a newer one's, or other controllers'."""
    return [condition for condition in conditions if condition.type not in set(ConditionType)]


def is_true(status: ModelOptimizationStatus, kind: ConditionType) -> bool:
    """Tell whether a status has a condition that is True."""
    return any(c.type == kind and c.status == "True" for c in status.conditions)
