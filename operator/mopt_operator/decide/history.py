"""What outlives a run: earlier selections, and which optimizer made the results. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mopt_api.reasons import Reason
from mopt_api.status import (
    Condition,
    ConditionType,
    ModelOptimizationStatus,
    SelectionRecord,
    TargetStatus,
)
from mopt_operator.config.settings import DEFAULT_PROFILE, Settings
from mopt_operator.objects import Resource
from mopt_operator.times import timestamp

from .conditions import MAX_CONDITION_MESSAGE
from .status import winner

PER_TARGET = 3
MAX_RECORDS = 24


def _record(target: TargetStatus, generation: int, now: datetime) -> SelectionRecord | None:
    chosen = winner(target)
    if chosen is None:
        return None
    return SelectionRecord(
        target=target.name,
        selected=chosen.name,
        artifact=chosen.artifact.digest if chosen.artifact else None,
        report=target.report.digest,
        generation=generation,
        time=timestamp(now),
    )


def extended(
    history: Sequence[SelectionRecord],
    targets: Sequence[TargetStatus],
    *,
    generation: int,
    now: datetime,
) -> list[SelectionRecord]:
    """Return the history with the targets' selections, newest first.

    A selection is new where its form or file differs from the last one; measuring the same
    winner again changes nothing.
    """
    records = list(history)
    for target in targets:
        record = _record(target, generation, now)
        last = next((r for r in records if r.target == target.name), None)
        if record is None or (
            last is not None
            and (last.selected, last.artifact) == (record.selected, record.artifact)
        ):
            continue
        records.insert(0, record)
    kept: list[SelectionRecord] = []
    for record in records:
        if sum(r.target == record.target for r in kept) < PER_TARGET:
            kept.append(record)
    return kept[:MAX_RECORDS]


def _present_image(target: str, resource: Resource, settings: Settings) -> str:
    """Return the image that a target's Jobs run now; the spec need not be valid."""
    asked = resource.spec.get("targets")
    named = [t for t in asked if isinstance(t, dict)] if isinstance(asked, list) else []
    names = {str(t.get("name")): str(t.get("profile") or DEFAULT_PROFILE) for t in named}
    profile = settings.profiles.get(names.get(target, DEFAULT_PROFILE))
    return settings.image_of(profile) if profile else settings.optimizer_image


def is_outdated(target: TargetStatus, resource: Resource, settings: Settings) -> bool:
    """Tell whether a target's result is from another optimizer image than its Jobs run now."""
    made_by = target.optimizer
    return made_by is not None and made_by != _present_image(target.name, resource, settings)


def with_outdated(
    conditions: Sequence[Condition],
    targets: Sequence[TargetStatus],
    resource: Resource,
    settings: Settings,
    before: ModelOptimizationStatus,
    *,
    now: datetime,
) -> list[Condition]:
    """Return conditions with Outdated as it is now. Ready is not touched.

    Args:
        targets: Those that status is going to show.
        before: Status as it is: Outdated keeps its transition time while it holds.
    """
    outdated = _outdated(targets, resource, settings, before.conditions, now=now)
    others = [c for c in conditions if c.type is not ConditionType.OUTDATED]
    return [*others, outdated] if outdated else others


def _outdated(
    targets: Sequence[TargetStatus],
    resource: Resource,
    settings: Settings,
    previous: Sequence[Condition],
    *,
    now: datetime,
) -> Condition | None:
    """Return the Outdated condition, or None where it does not hold."""
    found = _other_optimizer(targets, resource, settings) or _other_data(targets)
    if found is None:
        return None
    reason, message = found
    before = next((c for c in previous if c.type is ConditionType.OUTDATED), None)
    return Condition(
        type=ConditionType.OUTDATED,
        status="True",
        reason=reason,
        message=f"{message} Set the mopt.dev/requestedAt annotation to measure again."[
            :MAX_CONDITION_MESSAGE
        ],
        observed_generation=resource.generation,
        last_transition_time=before.last_transition_time if before else timestamp(now),
    )


def _other_optimizer(
    targets: Sequence[TargetStatus], resource: Resource, settings: Settings
) -> tuple[Reason, str] | None:
    """Return why results are of another optimizer image, if some are."""
    older = [target for target in targets if is_outdated(target, resource, settings)]
    if not older:
        return None
    made = "; ".join(f"{target.name} by {target.optimizer}" for target in older)
    present = dict.fromkeys(_present_image(t.name, resource, settings) for t in older)
    words = f"Measured by an optimizer image other than {', '.join(present)}: {made}."
    return Reason.OLDER_OPTIMIZER, words


def _other_data(targets: Sequence[TargetStatus]) -> tuple[Reason, str] | None:
    """Return why targets are not comparable, if the data changed from one to the next.

    Nobody but a Job looks at the data: its digests are in the result of each.
    """
    for name, digests in (
        ("data.calibration", {t.name: t.data and t.data.calibration for t in targets}),
        ("data.evaluation", {t.name: t.data and t.data.evaluation for t in targets}),
        ("data.evaluation.references", {t.name: t.data and t.data.references for t in targets}),
    ):
        known = {target: digest for target, digest in digests.items() if digest}
        if len({*known.values()}) > 1:
            seen = ", ".join(f"{target} {digest[:19]}" for target, digest in known.items())
            return Reason.DATA_CHANGED, f"{name} changed between measurements: {seen}."
    return None
