"""What Jobs return: termination messages as the optimizer writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypedDict

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import ModelFormat, QualityMetric
from mopt_api.figures import (
    DataDigests,
    Hardware,
    Latency,
    LoadFigures,
    QualityReference,
    QualityResult,
    Serving,
    SourceInfo,
)
from mopt_api.jobs.measure_result import QUALITY_OF_ENGINE
from mopt_api.jobs.termination import (
    MeasureSummary,
    PrepareSummary,
    PublishedImage,
    PublishSummary,
    VariantSummary,
    encode,
    error_summary,
)
from mopt_api.reasons import ErrorReport, Reason
from mopt_api.verdict import Verdict

MODEL_SHA = hashlib.sha256(b"model").hexdigest()
MODEL_BYTES = 4_900_000
HARDWARE = Hardware(cpu="Test CPU", threads=2, node="node-1")

SHORT = {"aim_decibels": 4}
"""The INT8 variant of a measurement, Rejected: 0.5 dB below its gate, and the fastest."""
HOLDS = {
    "aimed_by": "Evaluation",
    "state": "Passed",
    "reason": None,
    "message": None,
    "speedup": 5.0,
    "quality": [QualityResult(metric=QualityMetric.PSNR, worst=40.6, mean=42.0)],
}
"""The same after a second search."""


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def source(sha256: str = MODEL_SHA) -> SourceInfo:
    return SourceInfo(
        sha256=sha256,
        format=ModelFormat.EXPORTED_PROGRAM,
        size_bytes=MODEL_BYTES,
        opset=18,
        parameters=1_200_000,
    )


def measured(
    name: str, runtime: str, precision: str, speedup: float, psnr: float | None
) -> VariantSummary:
    return VariantSummary(
        name=name,
        runtime=runtime,
        precision=precision,
        state="Passed",
        artifact_digest=digest(name),
        artifact_format=ArtifactFormat.ONNX,
        size_bytes=1_225_000 if precision == "INT8" else 2_450_000,
        latency_ms=Latency(p50=100 / speedup, p90=110 / speedup, p99=120 / speedup),
        throughput=10 * speedup,
        quality=[]
        if psnr is None
        else [QualityResult(metric=QualityMetric.PSNR, worst=psnr, mean=psnr + 2)],
        speedup=speedup,
        speedup_over_fastest_fp32=round(speedup / 2.5, 4),
    )


def prepare_message(
    sha256: str = MODEL_SHA, *, result: str = "manifest", aimed: Sequence[str] = ()
) -> str:
    return encode(PrepareSummary(result=digest(result), source=source(sha256), aimed=list(aimed)))


def measure_message(
    target: str = "default",
    *,
    selected: str | None = "openvino-bf16",
    result: str = "result",
    point: str = "opt",
    served: bool = False,
    data: DataDigests | None = None,
    build: str = "0.1.0+000000000000",
    at: str = "2026-11-01T12:00:00Z",
    hardware: Hardware = HARDWARE,
    tools: Mapping[str, str] = MappingProxyType({"openvino": "2026.1"}),
    int8: Mapping[str, object] = MappingProxyType({}),
    load: float | None = None,
    width: float | None = None,
    verdict: Verdict | None = None,
) -> str:
    """Return the outcome of a measurement.

    Args:
        int8: Other fields of the INT8 variant.
        width: Of the intervals of speedups, as a ratio; None where there are none.
        load: Samples per second of the baseline under load; None where none was put on.
    """
    baseline = measured("baseline", "PyTorch", "FP32", 1.0, None)
    return encode(
        _loaded(
            load,
            MeasureSummary(
                target=target,
                verdict=verdict,
                data=data,
                result=digest(result),
                point=point,
                hardware=hardware,
                software={"mopt": build, **tools},
                measured_at=at,
                baseline=baseline.model_copy(
                    update={"artifact_digest": None, "artifact_format": None, "size_bytes": None}
                ),
                variants=_surrounded(
                    width,
                    [
                        measured("onnxruntime-fp32", "ONNXRuntime", "FP32", 2.5, 131.2),
                        measured("openvino-bf16", "OpenVINO", "BF16", 4.9, 58.34),
                        VariantSummary(
                            name="onnxruntime-int8",
                            runtime="ONNXRuntime",
                            precision="INT8",
                            state="Rejected",
                            reason="QualityGate",
                            message="worst PSNR 39.50 is below 40",
                            speedup=5.1,
                            speedup_over_fastest_fp32=5.1 / 2.5,
                            artifact_digest=digest("onnxruntime-int8"),
                            artifact_format=ArtifactFormat.ONNX,
                            size_bytes=1_225_000,
                            latency_ms=Latency(p50=100 / 5.1, p90=110 / 5.1, p99=120 / 5.1),
                            throughput=51.0,
                            quality=[
                                QualityResult(metric=QualityMetric.PSNR, worst=39.5, mean=41.2)
                            ],
                        ).model_copy(update=dict(int8)),
                    ],
                ),
                selected=selected,
                served_from_store=served or None,
            ),
        )
    )


def _surrounded(width: float | None, variants: list[VariantSummary]) -> list[VariantSummary]:
    """Return variants with intervals so wide."""
    if width is None:
        return variants
    return [
        v.model_copy(update={"speedup_interval": [v.speedup / width, v.speedup * width]})
        for v in variants
        if v.speedup is not None
    ]


def _loaded(rate: float | None, summary: MeasureSummary) -> MeasureSummary:
    """Return a summary with figures under load, as much better as single calls are."""

    def served(variant: VariantSummary) -> VariantSummary:
        figures = LoadFigures(
            scenario="Server",
            serving=Serving(instances=2, threads=1, batch=1),
            throughput=(rate or 0.0) * (variant.speedup or 1.0),
            latency_ms=Latency(p50=20, p90=35, p99=48),
            queries=600,
        )
        return variant.model_copy(update={"load": figures})

    if rate is None or summary.baseline is None:
        return summary
    changed = {"baseline": served(summary.baseline), "variants": [*map(served, summary.variants)]}
    return summary.model_copy(update=changed)


def built_message(
    target: str = "default", *, psnr: Mapping[str, float | None], result: str = "built"
) -> str:
    """Return the outcome of a target that only builds: each engine's PSNR, None where it failed."""

    def engine(name: str, found: float | None) -> VariantSummary:
        made = measured(name, "TensorRT", name.rpartition("-")[2].upper(), 1.0, found)
        untimed = {"latency_ms": None, "throughput": None}
        untimed |= {"speedup": None, "speedup_over_fastest_fp32": None}
        if found is None:
            failed = {"state": "Failed", "reason": "BuildFailed", "message": "TensorRT refuses it"}
            nothing = {"artifact_digest": None, "artifact_format": None, "size_bytes": None}
            return made.model_copy(update=untimed | failed | nothing)
        built = {"state": "Built", "message": QUALITY_OF_ENGINE}
        engine = {"artifact_format": ArtifactFormat.TENSORRT_ENGINE}
        return made.model_copy(update=untimed | built | engine)

    skipped = VariantSummary(
        name="openvino-fp32",
        runtime="OpenVINO",
        precision="FP32",
        state="Skipped",
        reason="NoAccelerator",
        message="engines only",
    )
    return encode(
        MeasureSummary(
            target=target,
            result=digest(result),
            reference=QualityReference.BASELINE,
            hardware=Hardware(cpu="Test CPU", threads=2, node="node-1"),
            variants=[*(engine(name, found) for name, found in psnr.items()), skipped],
        )
    )


def publish_message(
    *targets: str, image: str = "image", index: str = "index", signed: bool = False
) -> str:
    """Return the outcome of publishing: the digests are those of the texts."""
    names = targets or ("default",)
    images = [PublishedImage(target=name, digest=digest(f"{image} {name}")) for name in names]
    return encode(PublishSummary(index=digest(index), images=images, signed=signed))


def error_message(reason: Reason, message: str) -> str:
    return encode(error_summary(ErrorReport(reason=reason, message=message)))


class Outcome(TypedDict, total=False):
    """What a measurement returns; see measure_message."""

    selected: str | None
    result: str
    point: str
    served: bool
    data: DataDigests | None
    build: str
    at: str
    hardware: Hardware
    tools: Mapping[str, str]
    int8: Mapping[str, object]
    load: float | None
    width: float | None
    verdict: Verdict | None


class Messages:
    """Termination messages of Jobs."""

    prepare = staticmethod(prepare_message)
    measure = staticmethod(measure_message)
    built = staticmethod(built_message)
    publish = staticmethod(publish_message)
    error = staticmethod(error_message)
