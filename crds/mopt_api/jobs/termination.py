"""The termination message: how a Job's container reports its outcome to the operator.

`mopt1:` + base64(zlib(JSON)), at most 4,096 bytes, the container runtime's limit. Kubernetes'
FallbackToLogsOnError may put log text in the same place, hence the prefix.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from mopt_api.artifacts import ArtifactFormat, ExternalData
from mopt_api.base import Digest, Name, ObservedModel, Timestamp
from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import (
    DataDigests,
    Hardware,
    JudgedVariant,
    PointFigures,
    QualityReference,
    QualityResult,
    SourceInfo,
    VariantFigures,
    WarningTags,
    converted,
    short_part,
)
from mopt_api.reasons import REASONS, ErrorReport
from mopt_api.spec import QualityGate
from mopt_api.text import cleaned
from mopt_api.verdict import Verdict

from .data_statistics import warning_tags
from .measure_result import MeasureResult, VariantResult
from .plan import Stage
from .prepare_result import PrepareResult
from .rounding import rounded_count, rounded_quality, shortened

PREFIX = "mopt1:"
MAX_BYTES = 4096
# The largest legal one inflates to 20 KiB. The bound keeps a hostile one from filling memory, and
# the status of eight targets from growing beyond what the API server stores.
MAX_INFLATED = 32 * 1024
# How much is reported, as far as it fits; see _bounded.
_BOUNDS = ((256, 2), (96, 2), (32, 2), (0, 2), (0, 1), (0, 0), (0, -1), (0, -2), (0, -3), (0, -4))
_TEXT_LENGTH = 48
_MOST_DETAILS = 8


class PrepareSummary(ObservedModel):
    """Outcome of a prepare Job."""

    stage: Literal[Stage.PREPARE] = Stage.PREPARE
    result: Digest
    source: SourceInfo
    aimed: list[Name] = Field(
        default=[], max_length=12, description="Variants for which a second search found a form."
    )


class VariantSummary(VariantFigures, PointFigures, JudgedVariant):
    """A variant at the objective's point."""

    name: Name
    artifact_digest: Digest | None = None
    artifact_format: ArtifactFormat | None = None
    external_data: list[ExternalData] | None = Field(default=None, max_length=4)


class MeasureSummary(ObservedModel):
    """Outcome of a measure Job; everything else is in the object that `result` names.

    Bounded as status is: whatever can be decoded can be recorded there.
    """

    stage: Literal[Stage.MEASURE] = Stage.MEASURE
    target: Name
    result: Digest
    point: Name | None = None
    reference: QualityReference | None = None
    hardware: Hardware
    software: dict[str, Annotated[str, Field(max_length=64)]] = Field(default={}, max_length=64)
    baseline: VariantSummary | None = None  # None where engines were only built.
    variants: list[VariantSummary] = Field(
        max_length=12,
        json_schema_extra={"x-kubernetes-list-map-keys": ["name"]},
    )
    selected: Name | None = None
    verdict: Verdict | None = None
    # Omitted otherwise: there is hardly a byte to spare.
    unstable: Literal[True] | None = None
    served_from_store: Literal[True] | None = None
    warnings: WarningTags = []
    data: DataDigests | None = None
    measured_at: Timestamp | None = None


class PublishedImage(ObservedModel):
    """The image of one target."""

    target: Name
    digest: Digest = Field(description="Of its manifest.")


class PublishSummary(ObservedModel):
    """Outcome of a publish Job."""

    stage: Literal[Stage.PUBLISH] = Stage.PUBLISH
    index: Digest = Field(description="Of the index of the images, which the tags name now.")
    images: list[PublishedImage] = Field(
        min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-map-keys": ["target"]}
    )
    signed: bool = False


class ErrorSummary(ObservedModel):
    """Outcome of a Job that failed."""

    stage: Literal["Error"] = "Error"
    error: ErrorReport


Summary = PrepareSummary | MeasureSummary | PublishSummary | ErrorSummary
FigureKey = tuple[QualityMetric, str | None, str | None]
"""A metric, and the output and slice that it is of."""
_GATES = TypeAdapter(list[QualityGate])
_ADAPTER: TypeAdapter[Summary] = TypeAdapter(Annotated[Summary, Field(discriminator="stage")])


class MessageError(ValueError):
    """The text is not a termination message of mopt."""


def summarize_variant(
    variant: VariantResult, point: str | None, by_tolerance: Collection[FigureKey] = ()
) -> VariantSummary:
    """Return what status shows of a variant, at one benchmark point; None where none was timed.

    Args:
        by_tolerance: Figures whose tolerance a gate judges.
    """
    at_point, artifact = variant.at(point), variant.artifact
    summary = converted(
        variant,
        VariantSummary,
        latency_ms=at_point and at_point.latency_ms,
        throughput=at_point and at_point.throughput,
        runs=at_point and at_point.runs,
        quality=[_summarized(q, _key(q) in by_tolerance) for q in variant.quality],
        artifact_digest=artifact and artifact.digest,
        artifact_format=artifact and artifact.format,
        size_bytes=artifact and artifact.size_bytes,
        external_data=artifact and artifact.external_data,
    )
    return VariantSummary.model_validate(shortened(summary.model_dump()))


def _key(quality: QualityResult) -> FigureKey:
    return quality.metric, quality.output, quality.slice


def _summarized(quality: QualityResult, by_tolerance: bool) -> QualityResult:
    worst, mean = rounded_quality(quality.worst), rounded_quality(quality.mean)
    found = quality.value(Aggregate.TOLERANCE) if by_tolerance else None
    return quality.model_copy(
        update={
            "per_sample": None,
            "worst": worst,
            "mean": mean,
            "tolerance": None if found is None else rounded_quality(found),
        }
    )


def summarize_prepare(result: PrepareResult, digest: str) -> PrepareSummary:
    """Return the summary of a prepare manifest that is stored under `digest`."""
    return PrepareSummary(result=digest, source=result.source, aimed=sorted(result.aimed()))


def summarize_measure(result: MeasureResult, digest: str) -> MeasureSummary:
    """Return the summary of a result.json that is stored under `digest`."""
    point, by_tolerance = result.objective_point, _by_tolerance(result)
    return MeasureSummary(
        target=result.target,
        result=digest,
        point=point,
        reference=result.reference,
        hardware=result.hardware,
        software=result.software,
        baseline=result.baseline and summarize_variant(result.baseline, point, by_tolerance),
        variants=[summarize_variant(v, point, by_tolerance) for v in result.variants],
        selected=result.selected,
        verdict=summarized_verdict(result.verdict),
        unstable=is_unstable(result) or None,
        served_from_store=result.served_from_store or None,
        warnings=warning_tags(result.warnings),
        data=DataDigests(
            calibration=result.calibration_digest,
            evaluation=result.evaluation_digest,
            references=result.references_digest,
        ),
        measured_at=result.measured_at,
    )


def _by_tolerance(result: MeasureResult) -> set[FigureKey]:
    """Return the figures whose tolerance a gate judges."""
    gates = _GATES.validate_python((result.plan or {}).get("quality", []))
    return {(g.metric, *g.part) for g in gates if g.aggregate is Aggregate.TOLERANCE}


def summarized_verdict(verdict: Verdict | None) -> Verdict | None:
    """Return a verdict with its numbers rounded, as status shows it."""
    return verdict and Verdict.model_validate(shortened(verdict.model_dump()))


def is_unstable(result: MeasureResult) -> bool:
    """Return whether the figures at the objective's point were disturbed.

    The baseline takes part in all rounds, so it is as disturbed as any variant.
    """
    points = result.baseline.points if result.baseline else []
    return any(p.unstable for p in points if p.point == result.objective_point)


def _pack(summary: Summary) -> str:
    # Its stage tells the kinds of summaries apart, though it is each one's default.
    payload = {"stage": summary.stage} | summary.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    # Digests, names and figures hardly repeat: this strategy makes such text 1 % shorter.
    deflater = zlib.compressobj(9, strategy=zlib.Z_FILTERED)
    packed = deflater.compress(text.encode()) + deflater.flush()
    return PREFIX + base64.b64encode(packed).decode()


def _bounded(summary: MeasureSummary, message_length: int, details: int) -> MeasureSummary:
    """Return the summary with free texts cut to what may be shown.

    Args:
        message_length: Of each variant's message; below the first bound, the parts that decided
            are left out too.
        details: 2 is all, 1 leaves out the artifacts' external data, 0 the CPU's features,
            the versions of software and the warnings too; below 0 numbers of calls, the runner-up
            and the intervals of all but the selected variant; below -1 names of outputs and slices
            are digests, and nothing is said of a second search, so that none is made; below -2
            memory is rounded, figures under load are those of the selected variant alone,
            tolerances are left out, and of a verdict it is told how certain it is and no more, so
            that another selection is made from result.json; below -3 throughput is that of the
            selected variant alone.
    """

    def cut(variant: VariantSummary) -> VariantSummary:
        changed: dict[str, object] = {"message": (variant.message or "")[:message_length] or None}
        selected = variant.name == summary.selected
        if message_length < _BOUNDS[0][0]:
            changed["quality"] = [_bounded_quality(q, details) for q in variant.quality]
        if details < 2:
            changed["external_data"] = None
        if details < 0:
            changed["runs"] = None
            changed["speedup_interval"] = variant.speedup_interval if selected else None
        if details < -1:
            changed |= {"aim_decibels": None, "aimed_by": None}
        if details < -2:
            changed["peak_memory_bytes"] = rounded_count(variant.peak_memory_bytes)
            changed["speedup_interval"] = None
            if not selected:
                changed |= {"load": None, "speedup_over_fastest_fp32": None}
        if details < -3 and not selected:
            changed["throughput"] = None
        return variant.model_copy(update=changed)

    software = list(summary.software.items())[:_MOST_DETAILS] if details >= 1 else []
    return summary.model_copy(
        update={
            "baseline": summary.baseline and cut(summary.baseline),
            "variants": [cut(variant) for variant in summary.variants],
            "verdict": summary.verdict and _bounded_verdict(summary.verdict, details),
            "hardware": _bounded_hardware(summary.hardware, features=details >= 1),
            "software": {name[:24]: version[:24] for name, version in software},
            "warnings": summary.warnings if details >= 1 else [],
        }
    )


def _bounded_quality(quality: QualityResult, details: int) -> QualityResult:
    changed: dict[str, object] = {"part": None}
    if details < -1:
        changed |= {"output": short_part(quality.output, quality.slice), "slice": None}
    if details < -2:
        changed["tolerance"] = None
    return quality.model_copy(update=changed)


def _bounded_verdict(verdict: Verdict, details: int) -> Verdict:
    if details < -2:
        return Verdict(winner=verdict.winner, stopped=verdict.stopped)
    return verdict if details >= 0 else verdict.model_copy(update={"runner_up": None})


def _bounded_hardware(hardware: Hardware, *, features: bool) -> Hardware:
    gpu = hardware.gpu
    shown = hardware.cpu_features[:_MOST_DETAILS] if features else []
    return hardware.model_copy(
        update={
            "cpu": hardware.cpu and hardware.cpu[:_TEXT_LENGTH],
            "node": hardware.node and hardware.node[:_TEXT_LENGTH],
            "gpu": gpu and gpu.model_copy(update={"name": gpu.name[:_TEXT_LENGTH]}),
            "cpu_features": [feature[:16] for feature in shown],
        }
    )


def encode(summary: Summary) -> str:
    """Return the termination message of a summary.

    Variants' messages are shortened as far as the limit requires; where that is not enough external
    data is left out, then the CPU's features, versions and warnings, at last figures under load.
    result.json holds all of it.

    Raises:
        MessageError: The summary is larger than any that the API's bounds allow.
    """
    for length, details in _BOUNDS:
        shown = summary
        if isinstance(summary, MeasureSummary):
            shown = _bounded(summary, length, details)
        message = _pack(shown)
        if len(message.encode()) <= MAX_BYTES:
            return message
    raise MessageError(f"the summary needs more than {MAX_BYTES} bytes")


def decode(message: str) -> Summary:
    """Return the summary in a termination message, its texts clean: see cleaned.

    Raises:
        MessageError: The text lacks the prefix, or what follows is damaged, of another version, or
            nothing that a Job reports.
    """
    text = _inflated(message)
    try:
        summary = _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise MessageError(f"damaged termination message: {field}: {first['msg']}") from error
    if isinstance(summary, ErrorSummary) and summary.error.reason not in REASONS:
        raise MessageError(f"{summary.error.reason} is not a failure")
    return cleaned(summary, longer=False)


def _inflated(message: str) -> bytes:
    """Return the JSON in a termination message.

    Raises:
        MessageError: There is none, or too much.
    """
    if not message.startswith(PREFIX):
        raise MessageError("no mopt1: prefix")
    inflater = zlib.decompressobj()
    try:
        packed = base64.b64decode(message[len(PREFIX) :], validate=True)
        text = inflater.decompress(packed, MAX_INFLATED)
    except (ValueError, zlib.error) as error:  # Not ASCII, not base64, not deflated.
        raise MessageError(f"damaged termination message: {error}") from error
    if inflater.unconsumed_tail or inflater.unused_data or not inflater.eof:
        raise MessageError("truncated, or larger than any summary")
    return text


def error_summary(report: ErrorReport) -> ErrorSummary:
    """Return the summary of a failure."""
    return ErrorSummary(error=report)
