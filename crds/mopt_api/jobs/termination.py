"""The termination message: how a Job's container hands its outcome to the operator.

`mopt1:` + base64(zlib(JSON)), at most 4,096 bytes, the container runtime's limit. Kubernetes'
FallbackToLogsOnError may put log text in the same place, hence the prefix.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from mopt_api.artifacts import ExternalData
from mopt_api.base import Digest, ObservedModel
from mopt_api.figures import Hardware, Latency, QualityReference, QualityResult, SourceInfo
from mopt_api.reasons import MAX_MESSAGE, ErrorReport

from .measure_result import MeasureResult, VariantResult
from .plan import Stage
from .prepare_result import PrepareResult

PREFIX = "mopt1:"
MAX_BYTES = 4096
# A message inflates to a few KiB; the bound keeps a hostile one from filling memory.
MAX_INFLATED = 256 * 1024
# How much is told, as far as it fits; see _bounded.
_BOUNDS = ((256, 2), (96, 2), (32, 2), (0, 2), (0, 1), (0, 0))
_TEXT_LENGTH = 48


class PrepareSummary(ObservedModel):
    """Outcome of a prepare Job."""

    stage: Literal[Stage.PREPARE] = Stage.PREPARE
    result: Digest
    source: SourceInfo


class VariantSummary(ObservedModel):
    """A variant at the objective's point."""

    name: str
    runtime: str
    precision: str
    state: str
    reason: str | None = None
    message: str | None = None
    artifact_digest: Digest | None = None
    artifact_format: str | None = None
    size_bytes: int | None = None
    external_data: list[ExternalData] | None = None
    peak_memory_bytes: int | None = None
    latency_ms: Latency | None = None
    throughput: float | None = None
    quality: list[QualityResult] = []
    speedup: float | None = None
    speedup_over_fastest_fp32: float | None = Field(default=None, alias="speedupOverFastestFP32")


class MeasureSummary(ObservedModel):
    """Outcome of a measure Job; everything else is in the object that `result` names."""

    stage: Literal[Stage.MEASURE] = Stage.MEASURE
    target: str
    result: Digest
    point: str | None = None
    reference: QualityReference | None = None
    hardware: Hardware
    software: dict[str, str] = {}
    baseline: VariantSummary | None = None  # Of what was only built.
    variants: list[VariantSummary]
    selected: str | None = None
    unstable: Literal[True] | None = None  # Left out otherwise: there is hardly a byte to spare.


class ErrorSummary(ObservedModel):
    """Outcome of a Job that failed."""

    stage: Literal["Error"] = "Error"
    error: ErrorReport


Summary = PrepareSummary | MeasureSummary | ErrorSummary
_ADAPTER: TypeAdapter[Summary] = TypeAdapter(Summary)


class MessageError(ValueError):
    """The text is not a termination message of mopt's."""


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return the value with that many significant digits: what status shows."""
    return None if value is None else float(f"{value:.{digits}g}")


def _exact_latency(latency: Latency) -> Latency:
    return Latency(**{name: rounded(value) for name, value in latency.model_dump().items()})


def summarize_variant(variant: VariantResult, point: str | None) -> VariantSummary:
    """Return what status shows of a variant, at one benchmark point; None where none was timed."""
    at_point = next((p for p in variant.points if p.point == point), None)
    artifact = variant.artifact
    return VariantSummary(
        name=variant.name,
        runtime=variant.runtime,
        precision=variant.precision,
        state=variant.state,
        reason=variant.reason,
        message=variant.message,
        artifact_digest=artifact and artifact.digest,
        artifact_format=artifact and artifact.format,
        size_bytes=artifact and artifact.size_bytes,
        external_data=artifact and artifact.external_data,
        peak_memory_bytes=variant.peak_memory_bytes,
        latency_ms=at_point and _exact_latency(at_point.latency_ms),
        throughput=rounded(at_point.throughput) if at_point else None,
        quality=[
            QualityResult(
                metric=q.metric,
                worst=rounded(q.worst, 5) or 0.0,
                mean=rounded(q.mean, 5) or 0.0,
                exact=q.exact,
            )
            for q in variant.quality
        ],
        speedup=rounded(variant.speedup),
        speedup_over_fastest_fp32=rounded(variant.speedup_over_fastest_fp32),
    )


def summarize_prepare(result: PrepareResult, digest: str) -> PrepareSummary:
    """Return the summary of a prepare manifest that is stored under `digest`."""
    return PrepareSummary(result=digest, source=result.source)


def summarize_measure(result: MeasureResult, digest: str) -> MeasureSummary:
    """Return the summary of a result.json that is stored under `digest`."""
    point = result.objective_point
    return MeasureSummary(
        target=result.target,
        result=digest,
        point=point,
        reference=result.reference,
        hardware=result.hardware,
        software=result.software,
        baseline=result.baseline and summarize_variant(result.baseline, point),
        variants=[summarize_variant(v, point) for v in result.variants],
        selected=result.selected,
        unstable=is_unstable(result) or None,
    )


def is_unstable(result: MeasureResult) -> bool:
    """Return whether the figures at the objective's point were disturbed.

    The baseline takes part in all rounds, so it is as disturbed as any variant.
    """
    points = result.baseline.points if result.baseline else []
    return any(p.unstable for p in points if p.point == result.objective_point)


def _pack(payload: dict[str, Any]) -> str:
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    # Digests, names and figures hardly repeat: this strategy makes such text 1 % shorter.
    deflater = zlib.compressobj(9, strategy=zlib.Z_FILTERED)
    packed = deflater.compress(text.encode()) + deflater.flush()
    return PREFIX + base64.b64encode(packed).decode()


def _bounded(summary: Summary, message_length: int, details: int) -> dict[str, Any]:
    """Return the summary's JSON with free texts cut to what may be shown, defaults left out.

    Args:
        message_length: Of each variant's message.
        details: 2 is all, 1 leaves out the artifacts' external data, 0 the CPU's features and
            the versions of software too.
    """
    payload = summary.to_api()
    for variant in [payload.get("baseline"), *payload.get("variants", [])]:
        if not variant:
            continue
        if "message" in variant:
            variant["message"] = variant["message"][:message_length]
            if not variant["message"]:
                del variant["message"]
        if details < 2:
            variant.pop("externalData", None)
        for quality in variant["quality"]:
            if not quality["exact"]:
                del quality["exact"]
    hardware = payload.get("hardware", {})
    for key in ("cpu", "node"):
        if key in hardware:
            hardware[key] = hardware[key][:_TEXT_LENGTH]
    if "gpu" in hardware:
        hardware["gpu"]["name"] = hardware["gpu"]["name"][:_TEXT_LENGTH]
    if details < 1:
        hardware.pop("cpuFeatures", None)
        payload.pop("software", None)
    if "cpuFeatures" in hardware:
        hardware["cpuFeatures"] = [f[:16] for f in hardware["cpuFeatures"][:8]]
    if "software" in payload:
        payload["software"] = {k[:24]: v[:24] for k, v in list(payload["software"].items())[:8]}
    return payload


def encode(summary: Summary) -> str:
    """Return the termination message of a summary.

    Variants' messages are shortened as far as the limit requires; where that is not enough external
    data is left out, then the CPU's features and versions. result.json holds all of it.

    Raises:
        MessageError: The summary is larger than any that the API's bounds allow.
    """
    for length, details in _BOUNDS:
        message = _pack(_bounded(summary, length, details))
        if len(message.encode()) <= MAX_BYTES:
            return message
    raise MessageError(f"the summary needs more than {MAX_BYTES} bytes")


def decode(message: str) -> Summary:
    """Return the summary in a termination message.

    Raises:
        MessageError: The text lacks the prefix, or what follows is damaged or of another version.
    """
    if not message.startswith(PREFIX):
        raise MessageError("no mopt1: prefix")
    try:
        packed = base64.b64decode(message[len(PREFIX) :], validate=True)
        inflater = zlib.decompressobj()
        text = inflater.decompress(packed, MAX_INFLATED)
        if inflater.unconsumed_tail or inflater.unused_data or not inflater.eof:
            raise MessageError("truncated, or larger than any summary")
        return _ADAPTER.validate_json(text)
    except (binascii.Error, zlib.error, ValidationError) as error:
        raise MessageError(f"damaged termination message: {error}") from error


def error_summary(report: ErrorReport) -> ErrorSummary:
    """Return the summary of a failure, its message cut to what conditions may hold."""
    return ErrorSummary(
        error=ErrorReport(reason=report.reason, message=report.message[:MAX_MESSAGE])
    )
