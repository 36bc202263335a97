"""A bucket with the model and the photographs for each module, and a plan for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from minio_server import MinioServer
from own_forms import OWN_CLASS
from prepare_bench import Bench

from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.variants import Variant


@pytest.fixture(scope="module")
def bench(
    minio: MinioServer,
    upscaler_pt2: Path,
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    return Bench(minio, upscaler_pt2, photographs, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def prepared(bench: Bench, plan: PreparePlan) -> tuple[PrepareResult, str]:
    """The plan, carried out once: every run opens torch anew."""
    result = bench.run(plan)
    assert set(bench.outcomes.values()) == {"Built"}
    return result


@pytest.fixture(scope="module")
def plan(
    bench: Bench, image_input: InputSpec, image_dimensions: dict[str, DimensionRange]
) -> PreparePlan:
    return PreparePlan(
        model=PlannedModel(
            uri=f"s3://{bench.bucket}/models/model.pt2",
            sha256=bench.sha256,
            format=ModelFormat.EXPORTED_PROGRAM,
        ),
        inputs=[image_input],
        dimensions=image_dimensions,
        calibration=PlannedData(
            uri=f"s3://{bench.bucket}/data", samples=8, images=ImageTransform()
        ),
        variants=[
            Variant(name="eager", runtime=Runtime.PYTORCH, precision=Precision.FP32),
            Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
            Variant(name="ort8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8),
            Variant(name="ov8", runtime=Runtime.OPENVINO, precision=Precision.INT8),
        ],
        output_uri=f"s3://{bench.bucket}/out",
        cpu_classes=[OWN_CLASS],
    )
