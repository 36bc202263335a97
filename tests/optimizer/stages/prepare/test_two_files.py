"""Forms whose weights do not fit into an ONNX file, from prepare to measure, on MinIO.

What a file holds is lowered to a few kilobytes; tests/large does the same with a model above 2 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from own_forms import OWN_CLASS, own
from present import present

from mopt_api.artifacts import Artifact
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import (
    PLAN_VARIABLE,
    Credentials,
    MeasurePlan,
    PlannedData,
    PlannedModel,
    PreparePlan,
)
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import ErrorSummary, MeasureSummary, PrepareSummary, decode
from mopt_api.objective import Objective
from mopt_api.reasons import Reason
from mopt_api.sandbox import SCRATCH_VARIABLE
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.onnx_files.files import MAX_INLINE_VARIABLE, data_files
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.stages.artifacts import fetch_model, intact
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from ...conftest import MinioServer

pytestmark = pytest.mark.optimizer

ORT, OPENVINO, INT8 = Runtime.ONNX_RUNTIME, Runtime.OPENVINO, Precision.INT8
VARIANTS = [
    Variant(name="ort", runtime=ORT, precision=Precision.FP32),
    Variant(name="ort8", runtime=ORT, precision=INT8, quantization=Quantization()),
    Variant(name="ov", runtime=OPENVINO, precision=Precision.FP32),
    Variant(name="ov8", runtime=OPENVINO, precision=INT8, quantization=Quantization()),
]


class Jobs:
    """Runs stages as Jobs do, against a bucket with the model and the photographs."""

    def __init__(self, minio: MinioServer, model: Path, photographs: Path, folder: Path) -> None:
        self.bucket = minio.bucket()
        self.environ = minio.environ()
        self.store, _ = open_store(f"s3://{self.bucket}", Credentials.OUTPUT, self.environ)
        self.blobs = Blobs(self.store, "out")
        self.store.put_file("model.pt2", model)
        for path in photographs.iterdir():
            self.store.put_file(f"data/{path.name}", path)
        self.model = PlannedModel(
            uri=f"s3://{self.bucket}/model.pt2",
            sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
            format=ModelFormat.EXPORTED_PROGRAM,
        )
        self.folder = folder

    def run(self, plan: PreparePlan | MeasurePlan, **environ: str) -> Any:
        """Return the stage's summary; its scratch folder is empty afterwards."""
        message = self.folder / "termination-log"
        (work := self.folder / "work").mkdir(exist_ok=True)
        values = {k: v for k, v in os.environ.items() if "AWS" not in k}
        values |= {PLAN_VARIABLE: json.dumps(plan.to_api()), "MOPT_TERMINATION_LOG": str(message)}
        subprocess.run(
            [sys.executable, "-m", "mopt_optimizer.main", plan.stage.lower(), "--workdir", work],
            env=values | self.environ | environ,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert not list(work.iterdir())
        return decode(message.read_text())


@pytest.fixture(scope="module")
def jobs(
    minio: MinioServer,
    upscaler_pt2: Path,
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Jobs:
    return Jobs(minio, upscaler_pt2, photographs, tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def plan(
    jobs: Jobs, image_input: InputSpec, image_dimensions: dict[str, DimensionRange]
) -> PreparePlan:
    return PreparePlan(
        model=jobs.model,
        inputs=[image_input],
        dimensions=image_dimensions,
        calibration=PlannedData(uri=f"s3://{jobs.bucket}/data", samples=4, images=ImageTransform()),
        variants=VARIANTS,
        output_uri=f"s3://{jobs.bucket}/out",
        cpu_classes=[OWN_CLASS],
    )


@pytest.fixture(scope="module")
def prepared(jobs: Jobs, plan: PreparePlan) -> tuple[dict[str, Artifact], str]:
    summary = jobs.run(plan, **{MAX_INLINE_VARIABLE: "2000"})
    assert isinstance(summary, PrepareSummary), summary
    result = PrepareResult.model_validate_json(jobs.blobs.read(summary.result))
    assert result.skipped_on(TargetKind.CPU) == []
    assert "Kept" in {report.outcome for report in result.passes}
    return {a.name: a.artifact for a in result.artifacts}, summary.result


def test_each_form_is_a_file_and_its_weights(
    jobs: Jobs, prepared: tuple[dict[str, Artifact], str], tmp_path: Path
) -> None:
    import torch

    artifacts, _ = prepared
    jobs.store.fetch("model.pt2", tmp_path / "model.pt2")
    image = np.random.default_rng(5).random((3, 3, 21, 33), dtype=np.float32)
    with torch.no_grad():
        module = torch.export.load(tmp_path / "model.pt2").module()
        expected = module(torch.from_numpy(image)).numpy()
    limits = {"fp32": 1e-5, own("int8-minmax-perchannel"): 0.1}
    assert artifacts.keys() == limits.keys()
    for name, artifact in artifacts.items():
        path = fetch_model(jobs.blobs, artifact, tmp_path / name)
        assert artifact.external_data is not None
        (data,) = artifact.external_data
        assert data_files(path) == [path.parent / data.path]
        assert data.path == "model.onnx.data"
        sizes = [file.stat().st_size for file in (path, path.parent / data.path)]
        assert sizes == [artifact.object_bytes, data.size_bytes]
        assert sum(sizes) == artifact.size_bytes
        found = OnnxSession(path).run({"image": image})[0]
        assert np.abs(found - expected).max() < limits[name]
        assert intact(jobs.blobs, artifact)


def test_lost_weights_are_made_again(
    jobs: Jobs, plan: PreparePlan, prepared: tuple[dict[str, Artifact], str]
) -> None:
    artifacts, digest = prepared
    again = jobs.run(plan, **{MAX_INLINE_VARIABLE: "2000"})
    assert again.result == digest
    assert artifacts["fp32"].external_data is not None
    lost = artifacts["fp32"].external_data[0].digest
    key = f"out/blobs/{lost.replace(':', '/')}"
    jobs.store.put_bytes(key, b"damaged")
    assert not intact(jobs.blobs, artifacts["fp32"])
    again = jobs.run(plan, **{MAX_INLINE_VARIABLE: "2000"})
    result = PrepareResult.model_validate_json(jobs.blobs.read(again.result))
    assert {a.name: a.artifact for a in result.artifacts} == artifacts
    assert intact(jobs.blobs, artifacts["fp32"])


def measure_plan(plan: PreparePlan, prepared: str) -> MeasurePlan:
    return MeasurePlan(
        target="default",
        model=plan.model,
        prepared=prepared,
        inputs=plan.inputs,
        dimensions=plan.dimensions,
        evaluation=plan.calibration,
        variants=VARIANTS,
        quality=[QualityGate(metric=QualityMetric.PSNR, minimum=25)],
        objective=Objective(),
        benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
        output_uri=plan.output_uri,
    )


def test_every_runtime_is_measured_on_them(
    jobs: Jobs, plan: PreparePlan, prepared: tuple[dict[str, Artifact], str]
) -> None:
    artifacts, digest = prepared
    summary = jobs.run(measure_plan(plan, digest))
    assert isinstance(summary, MeasureSummary), summary
    result = MeasureResult.model_validate_json(jobs.blobs.read(summary.result))
    assert {v.name: v.state for v in result.variants} == dict.fromkeys(
        ("ort", "ort8", "ov", "ov8"), VariantState.PASSED
    )
    expected = {"ort": "fp32", "ov": "fp32", "ort8": own("int8-minmax-perchannel")}
    by_name = {v.name: v for v in result.variants}
    for name, form in expected.items():
        assert by_name[name].artifact == artifacts[form]
        assert by_name[name].points
    shown = {v.name: (v.size_bytes, v.external_data) for v in summary.variants}
    assert shown["ort"] == (artifacts["fp32"].size_bytes, artifacts["fp32"].external_data)


def test_too_small_a_volume_is_told_before_anything_is_fetched(
    jobs: Jobs, plan: PreparePlan, prepared: tuple[dict[str, Artifact], str]
) -> None:
    artifacts, digest = prepared
    size = jobs.store.size("model.pt2") or 0
    forms = sum(artifact.size_bytes for artifact in artifacts.values())
    # Asked for anew: what is in the store would be served, and take no space.
    sizes = plan.dimensions["batch"].model_copy(update={"max": 7})
    preparing = plan.model_copy(update={"dimensions": plan.dimensions | {"batch": sizes}})
    for told, amount in ((preparing, 3 * size), (measure_plan(plan, digest), 2 * size + forms)):
        again = {REQUESTED_AT_VARIABLE: "again", SCRATCH_VARIABLE: str(amount - 1)}
        summary = jobs.run(told, **again)
        assert isinstance(summary, ErrorSummary)
        assert summary.error.reason is Reason.OUT_OF_DISK
        assert f"needs {amount} bytes of scratch space at least, and {amount - 1} are there" in (
            summary.error.message
        )
        assert "set scratchSize of the target's profile to 1Gi or more" in summary.error.message


def test_onnx_file_with_weights_beside_it_comes_as_a_tar(
    jobs: Jobs, plan: PreparePlan, prepared: tuple[dict[str, Artifact], str], tmp_path: Path
) -> None:
    path = fetch_model(jobs.blobs, prepared[0]["fp32"], tmp_path / "fp32")
    packed = tmp_path / "model.tar"
    with tarfile.open(packed, "w") as archive:
        for file in (path, *data_files(path)):
            archive.add(file, file.name)
    jobs.store.put_file("model.tar", packed)
    model = PlannedModel(
        uri=f"s3://{jobs.bucket}/model.tar",
        sha256=hashlib.sha256(packed.read_bytes()).hexdigest(),
        format=ModelFormat.ONNX,
    )
    plan = plan.model_copy(update={"model": model, "variants": VARIANTS[:1]})
    summary = jobs.run(plan)
    assert isinstance(summary, PrepareSummary), summary
    assert summary.source.size_bytes == packed.stat().st_size
    result = PrepareResult.model_validate_json(jobs.blobs.read(summary.result))
    assert [a.artifact.external_data for a in result.artifacts] == [None]
    measuring = measure_plan(plan, summary.result).model_copy(update={"variants": VARIANTS[:1]})
    summary = jobs.run(measuring)
    assert isinstance(summary, MeasureSummary), summary
    assert present(summary.baseline).runtime == Runtime.ONNX_RUNTIME
    assert [v.state for v in summary.variants] == [VariantState.PASSED]


def test_torchscript_is_written_in_two_files_too(
    jobs: Jobs, plan: PreparePlan, upscaler_ts: Path, tmp_path: Path
) -> None:
    jobs.store.put_file("model.ts", upscaler_ts)
    model = PlannedModel(
        uri=f"s3://{jobs.bucket}/model.ts",
        sha256=hashlib.sha256(upscaler_ts.read_bytes()).hexdigest(),
        format=ModelFormat.TORCH_SCRIPT,
    )
    plan = plan.model_copy(update={"model": model, "variants": VARIANTS[:1]})
    summary = jobs.run(plan, **{MAX_INLINE_VARIABLE: "2000"})
    assert isinstance(summary, PrepareSummary), summary
    result = PrepareResult.model_validate_json(jobs.blobs.read(summary.result))
    (form,) = result.artifacts
    assert form.artifact.external_data
    path = fetch_model(jobs.blobs, form.artifact, tmp_path / "fp32")
    image = np.random.default_rng(5).random((1, 3, 20, 24), dtype=np.float32)
    assert OnnxSession(path).run({"image": image})[0].shape == (1, 3, 40, 48)
