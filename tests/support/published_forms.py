"""Measured forms in a store, as a measure Job leaves them, and the plan that publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.figures import Gpu, Hardware, Latency, SourceInfo, VariantState
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, PointResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan, PlannedModel, PublishPlan
from mopt_api.jobs.publishing import PublishedForm, PublishedResource
from mopt_api.objective import Objective
from mopt_api.publishing import OciRepository, PublishLayout
from mopt_api.variants import Variant
from mopt_optimizer.stages.artifacts import put_onnx
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs

WIDTH = 64
MEASURED_AT = "2026-11-29T12:00:00Z"


def write_model(path: Path, *, seed: int = 0, beside: bool = False) -> Path:
    """Write a linear layer as ONNX for any batch.

    Args:
        beside: Its weights lie in a file beside it.
    """
    weights = np.random.default_rng(seed).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model,
        path,
        save_as_external_data=beside,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return path


def stored_form(
    blobs: Blobs,
    model: Path,
    *,
    target: str = "default",
    runtime: Runtime = Runtime.ONNX_RUNTIME,
    precision: Precision = Precision.FP32,
    architecture: str = "x86_64",
    cpu_features: Sequence[str] = ("avx2",),
    measured_at: str = MEASURED_AT,
    gpu: Gpu | None = None,
) -> PublishedForm:
    """Store a file as the winner of a target, with the result that proves it."""
    artifact = put_onnx(blobs, model)
    source = put_onnx(blobs, model)
    variant = Variant(name="winner", runtime=runtime, precision=precision)
    result = measured_result(
        artifact,
        source,
        variant,
        target=target,
        architecture=architecture,
        cpu_features=cpu_features,
        measured_at=measured_at,
        output_uri=blobs.uri(artifact.digest).partition("/blobs/")[0],
        gpu=gpu,
    )
    assert artifact.uri is not None
    return PublishedForm(
        target=target,
        variant="winner",
        artifact=artifact.digest,
        uri=artifact.uri,
        result=blobs.put_bytes(result_bytes(result)),
    )


def measured_result(
    artifact: Artifact,
    source: Artifact,
    variant: Variant,
    *,
    target: str,
    architecture: str,
    cpu_features: Sequence[str] = ("avx2",),
    measured_at: str,
    output_uri: str,
    gpu: Gpu | None = None,
) -> MeasureResult:
    """Return the result of a target with one variant, which won."""
    plan = MeasurePlan(
        target=target,
        model=PlannedModel(
            uri=f"{output_uri}/model.onnx",
            sha256=source.digest.removeprefix("sha256:"),
            format=ModelFormat.ONNX,
        ),
        prepared=source.digest,
        inputs=[InputSpec(name="x", shape=["batch", WIDTH])],
        dimensions={"batch": DimensionRange(min=1, opt=2, max=8)},
        variants=[variant],
        quality=[],
        objective=Objective(),
        benchmark=Benchmark(),
        output_uri=output_uri,
    )
    return MeasureResult(
        target=target,
        source=SourceInfo(
            sha256=plan.model.sha256, format=ModelFormat.ONNX, size_bytes=source.size_bytes
        ),
        prepared=plan.prepared,
        hardware=Hardware(
            cpu="CPU",
            architecture=architecture,
            cpu_features=list(cpu_features),
            threads=2,
            gpu=gpu,
        ),
        software={"mopt": "0.1.0"},
        baseline=_ran(BASELINE, Runtime.ONNX_RUNTIME, Precision.FP32, source, 2.0),
        variants=[_ran("winner", variant.runtime, variant.precision, artifact, 1.0)],
        selected="winner",
        objective_point="opt",
        measured_at=measured_at,
        plan=plan.to_api(),
    )


def _ran(
    name: str, runtime: Runtime, precision: Precision, artifact: Artifact, milliseconds: float
) -> VariantResult:
    latency = Latency(p50=milliseconds, p90=milliseconds, p99=milliseconds)
    point = PointResult(
        point="opt",
        dimensions={"batch": 2},
        latency_ms=latency,
        throughput=2000 / milliseconds,
        runs=100,
        coefficient_of_variation=0.01,
    )
    return VariantResult(
        name=name,
        runtime=runtime,
        precision=precision,
        state=VariantState.PASSED,
        artifact=artifact,
        points=[point],
        speedup=2.0 / milliseconds,
    )


def publish_plan(
    forms: Sequence[PublishedForm],
    repository: str,
    output_uri: str,
    *,
    layout: PublishLayout = PublishLayout.MODEL_REPOSITORY,
    tags: Sequence[str] = ("latest",),
    insecure: bool = True,
    base_image: str | None = None,
    generation: int = 1,
    name: str = "linear",
) -> PublishPlan:
    """Return the plan of a Job that publishes forms."""
    return PublishPlan(
        oci=OciRepository(repository=repository, layout=layout, tags=list(tags), insecure=insecure),
        forms=list(forms),
        resource=PublishedResource(
            namespace="models", name=name, uid=f"uid-of-{name}", generation=generation
        ),
        base_image=base_image,
        output_uri=output_uri,
    )


def engine_artifact(digest: str) -> Artifact:
    """Return a file that is an engine, by its format."""
    return Artifact(digest=digest, size_bytes=1, format=ArtifactFormat.TENSORRT_ENGINE)
