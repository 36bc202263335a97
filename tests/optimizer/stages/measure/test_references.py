"""The measure stage with ground truth: real files, real runtimes, and as the Job runs it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import QualityReference, QualityResult, SourceInfo, VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import (
    PLAN_VARIABLE,
    Credentials,
    MeasurePlan,
    PlannedData,
    PlannedModel,
    PlannedReferences,
)
from mopt_api.jobs.prepare_result import KindArtifacts, PreparedArtifact, PrepareResult
from mopt_api.jobs.termination import ErrorSummary, MeasureSummary, Summary, decode
from mopt_api.objective import Objective
from mopt_api.reasons import Reason
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.quality import psnr
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from model_files import ModelFiles

    from ...conftest import MinioServer

pytestmark = pytest.mark.optimizer

VARIANTS = [
    Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
    Variant(name="int8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8),
]
SIDE = DimensionRange(min=16, opt=32, max=128)


@dataclass(frozen=True)
class Bench:
    """A model with samples, and for each sample what FP32 and INT8 make of it."""

    root: Path
    plan: MeasurePlan
    fp32: dict[str, np.ndarray]
    int8: dict[str, np.ndarray]

    def with_truth(self, folder: Path, **changes: Any) -> MeasurePlan:
        """Return the plan with the ground truth in a folder."""
        references = PlannedReferences(uri=f"file://{folder}", images=ImageTransform())
        return self.plan.model_copy(update={"references": references} | changes)


def gate(metric: QualityMetric, minimum: float) -> QualityGate:
    return QualityGate(metric=metric, minimum=minimum)


def manifest(blobs: Blobs, files: dict[str, Path], source: Path) -> str:
    """Store what a prepare Job would; return its digest."""
    made = PrepareResult(
        source=SourceInfo(
            sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
            format=ModelFormat.ONNX,
            size_bytes=source.stat().st_size,
        ),
        artifacts=[
            PreparedArtifact(
                name=name,
                artifact=Artifact(
                    digest=blobs.put_file(path),
                    size_bytes=path.stat().st_size,
                    format=ArtifactFormat.ONNX,
                ),
            )
            for name, path in files.items()
        ],
        artifacts_by_kind={TargetKind.CPU: KindArtifacts(artifacts={name: name for name in files})},
    )
    return blobs.put_bytes(json.dumps(made.to_api()).encode())


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, model_files: ModelFiles, photographs: Path
) -> Bench:
    root = tmp_path_factory.mktemp("bench")
    output = f"file://{root}/output"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, {}))
    source = model_files.onnx
    plan = MeasurePlan(
        target="default",
        model=PlannedModel(
            uri=f"file://{source}",
            sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
            format=ModelFormat.ONNX,
        ),
        prepared=manifest(blobs, {"ort": source, "int8": model_files.int8}, source),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": SIDE,
            "width": SIDE,
        },
        evaluation=PlannedData(uri=f"file://{photographs}", samples=3, images=ImageTransform()),
        variants=VARIANTS,
        quality=[gate(QualityMetric.PSNR, 30), gate(QualityMetric.SSIM, 0.5)],
        objective=Objective(),
        benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
        output_uri=output,
    )

    def outputs(model: Path) -> dict[str, np.ndarray]:
        session, found = ort.InferenceSession(str(model)), {}
        for path in sorted(photographs.iterdir()):
            feed = np.asarray(Image.open(path), np.float32).transpose(2, 0, 1)[None] / 255
            found[path.stem] = session.run(None, {"image": np.ascontiguousarray(feed)})[0]
        return found

    return Bench(root, plan, outputs(source), outputs(model_files.int8))


def run(plan: MeasurePlan, workdir: Path) -> MeasureResult:
    workdir.mkdir()
    return measure(plan, dict(os.environ), workdir, lambda *_, **__: None)[0]


def by_metric(quality: list[QualityResult] | None) -> dict[QualityMetric, QualityResult]:
    return {result.metric: result for result in quality or []}


def noisy(clean: np.ndarray, seed: int, sigma: float) -> np.ndarray:
    return clean + np.random.default_rng(seed).normal(0, sigma, clean.shape).astype(np.float32)


@pytest.fixture
def arrays(bench: Bench, tmp_path: Path) -> Path:
    """A folder of ground truth that the FP32 outputs are about 40 dB away from."""
    folder = tmp_path / "truth"
    folder.mkdir()
    for seed, (name, output) in enumerate(bench.fp32.items()):
        np.save(folder / f"{name}.npy", noisy(output, seed, 0.01))
    return folder


def test_every_form_is_compared_with_the_truth_and_with_fp32(
    bench: Bench, arrays: Path, tmp_path: Path
) -> None:
    result = run(bench.with_truth(arrays), tmp_path / "w")
    names = sorted(bench.fp32)[:3]
    truth = {name: np.load(arrays / f"{name}.npy") for name in names}

    def values(made: dict[str, np.ndarray], against: dict[str, np.ndarray]) -> list[float]:
        return [psnr(against[name], made[name], 1.0) for name in names]

    baseline, (_, int8) = present(result.baseline), result.variants
    own = by_metric(baseline.quality)[QualityMetric.PSNR]
    assert own.per_sample == pytest.approx(values(bench.fp32, truth), abs=0.01)
    assert own.worst == pytest.approx(40, abs=0.5)
    by_truth = by_metric(int8.quality)[QualityMetric.PSNR]
    assert by_truth.per_sample == pytest.approx(values(bench.int8, truth), abs=0.05)
    agreement = by_metric(int8.agreement)[QualityMetric.PSNR]
    assert agreement.per_sample == pytest.approx(values(bench.int8, bench.fp32), abs=0.05)
    assert (result.reference, result.evaluation_samples) == (QualityReference.GROUND_TRUTH, 3)
    assert baseline.state is VariantState.PASSED
    assert result.selected is not None


def test_images_are_ground_truth_too(bench: Bench, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for name, output in bench.fp32.items():
        pixels = np.round(output[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(truth / f"{name}.png")
    result = run(bench.with_truth(truth), tmp_path / "w")
    # Nothing but the rounding to 8 bits: a uniform error of 1/255 at most is 58.9 dB.
    worst = by_metric(present(result.baseline).quality)[QualityMetric.PSNR].worst
    assert worst == pytest.approx(20 * np.log10(255 * np.sqrt(12)), abs=0.5)


def test_other_ground_truth_is_measured_anew(bench: Bench, arrays: Path, tmp_path: Path) -> None:
    first = run(bench.with_truth(arrays), tmp_path / "first")
    for name, output in bench.fp32.items():
        np.save(arrays / f"{name}.npy", output)
    second = run(bench.with_truth(arrays), tmp_path / "second")
    assert first.references_digest != second.references_digest
    assert by_metric(present(second.baseline).quality)[QualityMetric.PSNR].worst > 100


def test_without_ground_truth_the_result_says_so(bench: Bench, tmp_path: Path) -> None:
    result = run(bench.plan, tmp_path / "w")
    assert result.reference is QualityReference.BASELINE
    assert (present(result.baseline).quality, result.variants[0].agreement) == ([], None)
    unseen = bench.plan.model_copy(update={"evaluation": None, "quality": []})
    assert run(unseen, tmp_path / "w2").reference is None


def test_labels_are_ground_truth_for_predictions(bench: Bench, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for name, output in bench.fp32.items():
        np.save(truth / f"{name}.npy", output.argmax(-1))
    accuracy = [gate(QualityMetric.TOP1_AGREEMENT, 0.9)]
    result = run(bench.with_truth(truth, quality=accuracy), tmp_path / "w")
    assert [q.worst for q in present(result.baseline).quality] == pytest.approx([1.0], abs=0.01)
    assert result.variants[1].quality[0].worst < 1.0


def job(
    plan: MeasurePlan, workdir: Path, environ: dict[str, str] | None = None
) -> tuple[Summary, int, str]:
    """Run the Job's entry point as its own process: outcome, exit status, standard error."""
    workdir.mkdir()
    message = workdir / "message"
    values = {k: v for k, v in os.environ.items() if "AWS" not in k} | {
        PLAN_VARIABLE: plan.model_dump_json(by_alias=True, exclude_none=True),
        "MOPT_TERMINATION_LOG": str(message),
    }
    command = [sys.executable, "-m", "mopt_optimizer.main", "measure", "--workdir", str(workdir)]
    ended = subprocess.run(
        command, env=values | (environ or {}), capture_output=True, text=True, check=False
    )
    return decode(message.read_text()), ended.returncode, ended.stderr


def test_the_job_tells_that_the_baseline_is_rejected(
    bench: Bench, arrays: Path, tmp_path: Path
) -> None:
    plan = bench.with_truth(arrays, quality=[gate(QualityMetric.PSNR, 60)])
    summary, status, _ = job(plan, tmp_path / "w")
    assert isinstance(summary, MeasureSummary)
    assert (status, summary.selected) == (0, None)
    assert summary.reference is QualityReference.GROUND_TRUTH
    assert {v.state for v in (present(summary.baseline), *summary.variants)} == {"Rejected"}
    assert present(present(summary.baseline).message).endswith("is below 60")
    assert present(summary.baseline).quality[0].worst == pytest.approx(40, abs=0.5)


def _without_one(folder: Path) -> None:
    (folder / "chelsea.npy").unlink()


def _another_shape(folder: Path) -> None:
    np.save(folder / "coffee.npy", np.zeros((1, 3, 48, 64), np.float32))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_one, "1 of 3 samples under {low} have no reference, first chelsea.png"),
        (
            _another_shape,
            "reference {high}/coffee.npy is (1, 3, 48, 64), the model's output 0 (1, 3, 96, 128)",
        ),
    ],
)
def test_ground_truth_that_does_not_fit_ends_the_job_for_good(
    bench: Bench, arrays: Path, photographs: Path, tmp_path: Path, spoil: Any, words: str
) -> None:
    spoil(arrays)
    summary, status, errors = job(bench.with_truth(arrays), tmp_path / "w")
    assert isinstance(summary, ErrorSummary)
    assert (summary.error.reason, status) == (Reason.INVALID_DATA, 69)
    told = words.format(low=f"file://{photographs}", high=f"file://{arrays}")
    assert told in summary.error.message
    assert "Traceback" not in errors


def test_references_are_read_with_the_evaluation_data_s_keys(
    bench: Bench, arrays: Path, photographs: Path, tmp_path: Path, minio: MinioServer
) -> None:
    from minio import Minio

    bucket = minio.bucket()
    client = Minio(
        minio.endpoint.removeprefix("http://"), minio.access_key, minio.secret_key, secure=False
    )
    for prefix, folder in (("low", photographs), ("high", arrays)):
        for path in folder.iterdir():
            client.fput_object(bucket, f"{prefix}/{path.name}", str(path))
    plan = bench.plan.model_copy(
        update={
            "evaluation": PlannedData(
                uri=f"s3://{bucket}/low/", samples=3, images=ImageTransform()
            ),
            "references": PlannedReferences(uri=f"s3://{bucket}/high", images=ImageTransform()),
        }
    )
    summary, status, errors = job(plan, tmp_path / "w", minio.environ(Credentials.EVALUATION))
    assert status == 0, errors
    assert isinstance(summary, MeasureSummary)
    assert summary.reference is QualityReference.GROUND_TRUTH
    assert present(summary.baseline).quality[0].worst == pytest.approx(40, abs=0.5)
