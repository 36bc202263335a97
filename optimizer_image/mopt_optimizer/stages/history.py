"""Measurements of a graph, kept in the output store for those who come with other weights of it.

index/history-HEX-DIGIT names a list of them: HEX is of the graph, the question, the kind of target
and the software, DIGIT the first of the hardware's digest, so that targets that end at once on
different machines write different lists. A list names results by their digests. Of each hardware
it holds those of the last two weights, since nothing is told by a model's own, and older ones that
have what the newer ones left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from pydantic import ValidationError

from mopt_api.base import Digest, ObservedModel, Timestamp
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.outrun import Measured, hardware_digest, lasts, tells
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.question import question_of
from mopt_optimizer.errors import DataError, DigestMismatch, ObjectNotFound
from mopt_optimizer.store.blobs import Blobs

from .step_keys import history_key
from .verdict import read_result

_SLOTS = "0123456789abcdef"
_MOST, _WEIGHTS = 64, 2


class Record(ObservedModel):
    """A measurement.

    Attributes:
        hardware: Digest of what it was measured on.
        variants: Those that it has rows of.
        weights: SHA-256 of the model.
    """

    result: Digest
    weights: str
    measured_at: Timestamp
    hardware: str
    variants: list[str]


class Records(ObservedModel):
    """A list in the store, the newest first."""

    records: list[Record] = []


def remember(blobs: Blobs, manifest: PrepareResult, digest: str, result: MeasureResult) -> None:
    """Add a stored measurement to those of its graph, where it may tell of other weights.

    Args:
        manifest: Of what was measured.

    Raises:
        StoreError.
    """
    plan = MeasurePlan.model_validate(result.plan)
    question = question_of(
        plan.benchmark,
        plan.objective,
        plan.quality,
        plan.dimensions,
        references=plan.references is not None,
    )
    if plan.search is None or question is None or manifest.graph is None:
        return
    if result.measured_at is None or not tells(result):
        return
    record = Record(
        result=digest,
        weights=result.source.sha256,
        measured_at=result.measured_at,
        hardware=hardware_digest(result.hardware),
        variants=[row.name for row in result.variants],
    )
    key = history_key(manifest.graph, question, plan.kind, manifest.software)
    name = f"{key}-{record.hardware[0]}"
    kept = _kept([record, *_records(blobs, name)], datetime.now(UTC))
    text = Records(records=kept).model_dump_json(by_alias=True)
    blobs.index_put(name, blobs.put_bytes(text.encode()))


def recall(blobs: Blobs, key: str, now: datetime) -> list[Measured]:
    """Return the recent measurements of a graph that are still there, on all hardware."""
    return [
        measured
        for slot in _SLOTS
        for record in _kept(_records(blobs, f"{key}-{slot}"), now)
        if (measured := _measured(blobs, record)) is not None
    ]


def _records(blobs: Blobs, name: str) -> list[Record]:
    if (found := blobs.index_read(name)) is None:
        return []
    try:
        return Records.model_validate_json(found[1]).records
    except ValidationError:
        return []


def _kept(records: list[Record], now: datetime) -> list[Record]:
    return [*_telling(record for record in records if lasts(record.measured_at, now))][:_MOST]


def _telling(records: Iterable[Record]) -> Iterator[Record]:
    """Yield what tells something, of records that are the newest first."""
    variants: dict[str, set[str]] = {}
    weights: dict[str, set[str]] = {}
    for record in records:
        known, models = (of.setdefault(record.hardware, set()) for of in (variants, weights))
        another = record.weights not in models and len(models) < _WEIGHTS
        if another or not known.issuperset(record.variants):
            yield record
        known.update(record.variants)
        models.add(record.weights)


def _measured(blobs: Blobs, record: Record) -> Measured | None:
    try:
        result = read_result(blobs, record.result)
    except (ObjectNotFound, DataError, DigestMismatch):
        return None
    return Measured.of(record.result, record.hardware, result)
