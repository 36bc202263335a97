"""What outlives a run: earlier selections. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mopt_api.status import SelectionRecord, TargetStatus
from mopt_operator.times import timestamp

PER_TARGET = 3
MAX_RECORDS = 24


def _record(target: TargetStatus, generation: int, now: datetime) -> SelectionRecord | None:
    chosen = target.winner
    if chosen is None:
        return None
    return SelectionRecord(
        target=target.name,
        selected=chosen.name,
        artifact=chosen.artifact.digest if chosen.artifact else None,
        uri=chosen.artifact.uri if chosen.artifact else None,
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


def with_published(
    history: Sequence[SelectionRecord], targets: Sequence[TargetStatus]
) -> list[SelectionRecord]:
    """Return the history in which each target's last selection names what was published of it."""
    published = {target.name: target.published for target in targets}
    records = []
    for record in history:
        done = published.pop(record.target, None)
        if done is not None and done.selected == record.artifact:
            record = record.model_copy(update={"published": done.reference})
        records.append(record)
    return records
