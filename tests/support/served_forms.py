"""Results of a measure Job, and forms to serve, without a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mopt_api.artifacts import Artifact, ArtifactFormat, ExternalData
from mopt_api.enums import Precision, Runtime
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import MeasureResult
from mopt_optimizer.serving import Signature

DIGEST = f"sha256:{'a' * 64}"
WEIGHTS = f"sha256:{'b' * 64}"
ARTIFACT = Artifact(digest=DIGEST, size_bytes=100, format=ArtifactFormat.ONNX)
WITH_WEIGHTS = ARTIFACT.model_copy(
    update={
        "external_data": [ExternalData(path="model.onnx.data", digest=WEIGHTS, size_bytes=60)],
    }
)
DIMENSIONS = {
    "batch": {"min": 1, "opt": 1, "max": 8},
    "height": {"min": 24, "opt": 48, "max": 64},
}
INPUTS = [{"name": "image", "shape": ["batch", 3, "height", 32]}]
SIGNATURE = Signature.model_validate(
    {
        "inputs": [{"name": "image", "dtype": "float32", "dims": ["n", 3, "h", 32]}],
        "outputs": [{"name": "scores", "dtype": "float32", "dims": ["n", 10]}],
    }
)


def signature(**tensors: list[int | str | None] | None) -> Signature:
    """Return a signature of float32: the input image, or the outputs of other names."""
    given: dict[str, list[int | str | None] | None] = {"image": ["n", 3, "h", 32], **tensors}
    values = [{"name": n, "dtype": "float32", "dims": dims} for n, dims in given.items()]
    return Signature.model_validate({"inputs": values[:1], "outputs": values[1:]})


def loaded(serving: Mapping[str, int]) -> dict[str, Any]:
    """Return figures under load of a configuration."""
    latency = {"p50": 10, "p90": 20, "p99": 30}
    figures = {"throughput": 100.0, "latencyMs": latency, "queries": 1000}
    return {"scenario": "Server", "serving": dict(serving), **figures}


def result(
    runtime: Runtime = Runtime.ONNX_RUNTIME,
    precision: Precision = Precision.FP32,
    *,
    artifact: Artifact | None = ARTIFACT,
    state: VariantState = VariantState.PASSED,
    kind: str = "CPU",
    provider: str | None = None,
    float_precision: str | None = None,
    quantization: Mapping[str, str] | None = None,
    serving: Mapping[str, int] | None = None,
    **changes: Any,
) -> MeasureResult:
    """Return a result whose selected variant, form, is of a runtime.

    Args:
        provider: ONNX Runtime's execution provider.
        float_precision: Of what is not INT8; None is FP32.
        quantization: Of the plan's variant.
        serving: What was found best under load.
        changes: Other fields of the result, or hardware, inputs and dimensions.
    """
    variant = {"name": "form", "runtime": runtime, "precision": precision}
    planned = (("executionProvider", provider), ("quantization", quantization))
    plan = {
        "target": "default",
        "kind": kind,
        "model": {"uri": "s3://models/Net v2.onnx", "sha256": "0" * 64, "format": "ONNX"},
        "prepared": DIGEST,
        "inputs": changes.pop("inputs", INPUTS),
        "dimensions": changes.pop("dimensions", DIMENSIONS),
        "variants": [variant | {name: value for name, value in planned if value}],
        "quality": [],
        "objective": {},
        "benchmark": {},
        "outputUri": "s3://out/x",
    }
    raw = {
        "target": "default",
        "source": {"sha256": "0" * 64, "format": "ONNX", "sizeBytes": 10},
        "prepared": DIGEST,
        "hardware": changes.pop("hardware", {"threads": 4, "cpuFeatures": ["avx2"]}),
        "software": {},
        "variants": [
            variant
            | {"state": state, "artifact": artifact.to_api() if artifact else None}
            | ({"load": loaded(serving)} if serving else {})
            | ({"floatPrecision": float_precision} if float_precision else {})
        ],
        "selected": "form",
        "plan": plan,
    }
    return MeasureResult.model_validate(raw | changes)
