"""A whole measurement of a target with a GPU: what Auto chooses, measured through both Jobs.

Written without a GPU at hand; see docs/gpu.md for where it ran.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import build
import pytest

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import Precision, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import Credentials, MeasurePlan, measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.variants import Variant
from mopt_optimizer.errors import TensorRTNotInstalled
from mopt_optimizer.machine.nvidia import find_gpu
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.runtimes.tensorrt import EngineRunner, find_backend
from mopt_optimizer.stages.artifacts import intact
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's exporter
]

# Against FP32 in dB of the worst tile: far below what a right variant has, above any wrong one.
LEAST_DB = {
    Precision.FP32: 50.0,
    Precision.FP16: 45.0,
    Precision.BF16: 35.0,
    Precision.INT8: 30.0,
    Precision.FP8: 30.0,
}


@dataclass(frozen=True)
class Bench:
    spec: ModelOptimizationSpec
    root: Path

    @property
    def output(self) -> str:
        return f"file://{self.root}/output"

    @property
    def blobs(self) -> Blobs:
        return Blobs(*open_store(self.output, Credentials.OUTPUT, {}))

    def plan(self, **changes: Any) -> MeasurePlan:
        """Prepare for a GPU, and return what its Job is told."""
        spec = self.spec.model_copy(update=changes)
        folder = self.root / "prepare"
        folder.mkdir(exist_ok=True)
        told = prepare_plan(spec, self.output, kinds=[TargetKind.GPU])
        _, digest = prepare(told, dict(os.environ), folder, lambda *_, **__: None)
        return measure_plan(
            spec, target="gpu", prepared=digest, output_uri=self.output, kind=TargetKind.GPU
        )

    def measure(self, plan: MeasurePlan, workdir: Path) -> MeasureResult:
        def log(step: str, message: str, **_: object) -> None:
            print(f"{step}: {message}")

        return measure(plan, dict(os.environ), workdir, log)[0]


@pytest.fixture(scope="module")
def bench(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("super-resolution")
    build.export(root / "model.pt2")
    build.cut_tiles({"astronaut.png": 4, "coffee.png": 4}, root / "calibration")
    build.cut_tiles({"chelsea.png": 2}, root / "evaluation")
    side = {"min": 64, "opt": 128, "max": 256}
    wire = {
        "model": {
            "uri": f"file://{root}/model.pt2",
            "sha256": hashlib.sha256((root / "model.pt2").read_bytes()).hexdigest(),
            "format": "ExportedProgram",
        },
        "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
        "dimensions": {"batch": {"min": 1, "opt": 1, "max": 4}, "height": side, "width": side},
        "data": {
            "calibration": {"uri": f"file://{root}/calibration"},
            "evaluation": {"uri": f"file://{root}/evaluation"},
        },
        "quality": [{"metric": "PSNR", "minimum": 20, "dataRange": 1.0}],
        "benchmark": {"warmupSeconds": 1, "minDurationSeconds": 1},
    }
    # Its uris are s3:// in the API; stages take file:// too.
    return Bench(ModelOptimizationSpec.model_construct(**_parsed(wire)), root)


def _parsed(wire: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(wire).replace("file://", "s3://bucket")
    spec = ModelOptimizationSpec.model_validate_json(text)
    return {name: getattr(_with_files(spec), name) for name in ModelOptimizationSpec.model_fields}


def _with_files(spec: ModelOptimizationSpec) -> ModelOptimizationSpec:
    def moved(value: Any) -> Any:
        return value.model_copy(update={"uri": value.uri.replace("s3://bucket", "file://")})

    data = spec.data.model_copy(
        update={
            "calibration": moved(spec.data.calibration),
            "evaluation": moved(spec.data.evaluation),
        }
    )
    return spec.model_copy(update={"model": moved(spec.model), "data": data})


@pytest.fixture(scope="module")
def measured(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> MeasureResult:
    return bench.measure(bench.plan(), tmp_path_factory.mktemp("work"))


def rows(result: MeasureResult) -> dict[str, VariantResult]:
    return {variant.name: variant for variant in result.variants}


def test_the_result_names_the_gpu(measured: MeasureResult) -> None:
    assert measured.hardware.gpu is not None
    assert measured.hardware.gpu == find_gpu()
    assert (measured.hardware.gpu.memory_bytes or 0) > 2**30


def test_the_baseline_runs_on_the_gpu(measured: MeasureResult) -> None:
    assert measured.baseline is not None
    assert measured.baseline.points
    assert (measured.baseline.peak_memory_bytes or 0) > 0


def test_what_ran_is_close_to_fp32_and_timed(measured: MeasureResult) -> None:
    ran = {n: v for n, v in rows(measured).items() if v.state is VariantState.PASSED}
    assert ran
    for name, variant in ran.items():
        assert variant.quality[0].worst >= LEAST_DB[variant.precision], name
        assert variant.points[0].latency_ms.p50 > 0, name
        assert (variant.peak_memory_bytes or 0) > 0, name
        print(f"{name}: p50 {variant.points[0].latency_ms.p50:.4g} ms, {variant.speedup} x")


@pytest.mark.parametrize("runtime", [Runtime.PYTORCH, Runtime.ONNX_RUNTIME, Runtime.TENSORRT])
def test_each_runtime_runs_something(measured: MeasureResult, runtime: Runtime) -> None:
    if runtime is Runtime.TENSORRT:
        try:
            find_backend()
        except TensorRTNotInstalled as error:
            pytest.skip(str(error))
    if runtime is Runtime.ONNX_RUNTIME:
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("onnxruntime-gpu is not installed")
    found = {v.name: v for v in measured.variants if v.runtime is runtime}
    told = {name: (v.state, v.message) for name, v in found.items()}
    assert any(v.state is VariantState.PASSED for v in found.values()), told


def test_what_the_gpu_lacks_is_skipped_for_that(measured: MeasureResult, gpu: Gpu) -> None:
    major, minor = map(int, gpu.compute_capability.split("."))
    skipped = rows(measured)["tensorrt-fp8"].reason is VariantReason.NO_NATIVE_FP8
    assert skipped == ((major, minor) < (8, 9))


def test_an_engine_in_the_store_runs(measured: MeasureResult, bench: Bench, tmp_path: Path) -> None:
    import numpy as np

    engines = [v for v in measured.variants if v.runtime is Runtime.TENSORRT and v.points]
    if not engines:
        pytest.skip("no engine was built here")
    artifact = engines[0].artifact
    assert artifact is not None
    assert artifact.format is ArtifactFormat.TENSORRT_ENGINE
    assert intact(bench.blobs, artifact)
    path = tmp_path / "model.engine"
    bench.blobs.fetch(artifact.digest, path)
    (manifest,) = artifact.external_data or []
    bench.blobs.fetch(manifest.digest, tmp_path / manifest.path)
    image = np.zeros((1, 3, 128, 128), np.float32)
    (output,) = EngineRunner.open(path)({"image": image}).values()
    assert output.shape == (1, 3, 512, 512)


def test_variants_of_cpus_are_skipped(bench: Bench, tmp_path: Path) -> None:
    listed = [
        Variant(name="openvino", runtime=Runtime.OPENVINO, precision=Precision.FP32),
        Variant(name="fp8", runtime=Runtime.PYTORCH, precision=Precision.FP8),
    ]
    result = rows(bench.measure(bench.plan(variants=listed), tmp_path))
    assert result["openvino"].reason is VariantReason.NO_ACCELERATOR
    # The network has no Linear: it fails when it is prepared, or the GPU has no FP8.
    reasons = (VariantReason.BUILD_FAILED, VariantReason.NO_NATIVE_FP8)
    assert result["fp8"].reason in reasons
