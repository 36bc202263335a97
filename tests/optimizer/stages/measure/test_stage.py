"""The measure stage on real runtimes, a small network, photographs and a folder as store."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import skimage.data
from html_page import HtmlPage
from PIL import Image
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat, page_key
from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import (
    ModelFormat,
    ObjectiveMetric,
    Precision,
    QualityMetric,
    Runtime,
    TargetKind,
)
from mopt_api.figures import SourceInfo, VariantReason, VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.crops import Crops
from mopt_api.jobs.measure_result import LATENCY_QUANTILES, MeasureResult
from mopt_api.jobs.plan import Credentials, MeasurePlan, PlannedData, PlannedModel
from mopt_api.jobs.prepare_result import (
    KindArtifacts,
    PreparedArtifact,
    PrepareResult,
    SkippedVariant,
)
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.errors import (
    BaselineError,
    DataError,
    DigestMismatch,
    ObjectNotFound,
    SpecError,
)
from mopt_optimizer.machine.system import System, has_native_bf16
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.report.page.verdicts import REASONS, gate_text
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

TILE = 48
NATIVE_BF16 = has_native_bf16(System().hardware({}).cpu_features)
VARIANTS = [
    Variant(name="torch-again", runtime=Runtime.PYTORCH, precision=Precision.FP32),
    Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
    Variant(
        name="ort-int8",
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.INT8,
        quantization=Quantization(),
    ),
    Variant(
        name="not-prepared",
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.INT8,
        quantization=Quantization(per_channel=False),
    ),
    Variant(name="damaged", runtime=Runtime.OPENVINO, precision=Precision.FP32),
    Variant(name="ov-bf16", runtime=Runtime.OPENVINO, precision=Precision.BF16),
]


@dataclass(frozen=True)
class Bench:
    """A prepared store, and how to measure in it."""

    root: Path
    blobs: Blobs
    plan: MeasurePlan

    def measure(
        self, plan: MeasurePlan, workdir: Path, **environ: str
    ) -> tuple[MeasureResult, str, list[str]]:
        steps: list[str] = []
        workdir.mkdir(exist_ok=True)
        result, digest = measure(
            plan,
            dict(os.environ) | environ,
            workdir,
            lambda *texts, **_: steps.append(texts[0]),
        )
        return result, digest, steps


def photographs(folder: Path) -> None:
    folder.mkdir(parents=True)
    picture = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    for number, (top, left) in enumerate([(0, 160), (200, 100)]):
        tile = picture[top : top + TILE, left : left + TILE]
        Image.fromarray(tile).save(folder / f"{number}.png")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prepared(blobs: Blobs, files: ModelFiles, source: Path, model_format: ModelFormat) -> str:
    """Store what a prepare Job would, one artifact damaged; return the manifest's digest."""
    broken = files.onnx.with_name("broken.onnx")
    broken.write_bytes(files.onnx.read_bytes()[:-200])
    artifacts = [
        PreparedArtifact(
            name=name,
            artifact=Artifact(
                digest=blobs.put_file(path),
                size_bytes=path.stat().st_size,
                format=ArtifactFormat.ONNX,
            ),
        )
        for name, path in {"fp32": files.onnx, "int8": files.int8, "broken": broken}.items()
    ]
    manifest = PrepareResult(
        source=SourceInfo(
            sha256=sha256(source), format=model_format, size_bytes=source.stat().st_size
        ),
        artifacts=artifacts,
        artifacts_by_kind={
            TargetKind.CPU: KindArtifacts(
                artifacts={
                    "torch-again": "source",
                    "ort": "fp32",
                    "ort-int8": "int8",
                    "damaged": "broken",
                    "ov-bf16": "fp32",
                },
                skipped=[
                    SkippedVariant(
                        name="not-prepared",
                        state=VariantState.SKIPPED,
                        reason=VariantReason.NO_CALIBRATION_DATA,
                        message="no calibration data",
                    )
                ],
            )
        },
    )
    return blobs.put_bytes(json.dumps(manifest.to_api()).encode())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, model_files: ModelFiles) -> Bench:
    root = tmp_path_factory.mktemp("bench")
    photographs(root / "evaluation")
    output = f"file://{root}/output"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, {}))
    source = model_files.program
    sizes = DimensionRange(min=8, opt=32, max=64)
    plan = MeasurePlan(
        target="default",
        model=PlannedModel(
            uri=f"file://{source}", sha256=sha256(source), format=ModelFormat.EXPORTED_PROGRAM
        ),
        prepared=prepared(blobs, model_files, source, ModelFormat.EXPORTED_PROGRAM),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": sizes,
            "width": sizes,
        },
        evaluation=PlannedData(uri=f"file://{root}/evaluation", samples=8, images=ImageTransform()),
        variants=VARIANTS,
        quality=[
            QualityGate(metric=QualityMetric.PSNR, minimum=100),
            QualityGate(metric=QualityMetric.SSIM, minimum=0.5),
        ],
        objective=Objective(),
        benchmark=Benchmark(
            warmup_seconds=0,
            min_duration_seconds=0.1,
            threads=1,  # the cores of a test machine are not ours alone
            points=[
                BenchmarkPoint(name="one"),
                BenchmarkPoint(name="four", dimensions={"batch": 4}),
            ],
        ),
        output_uri=output,
    )
    return Bench(root, blobs, plan)


@pytest.fixture(scope="module")
def measured(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MeasureResult, str, list[str]]:
    return bench.measure(bench.plan, tmp_path_factory.mktemp("work"))


def test_each_variant_ends_as_it_should(
    measured: tuple[MeasureResult, str, list[str]],
) -> None:
    result = measured[0]
    bf16 = VariantState.REJECTED if NATIVE_BF16 else VariantState.SKIPPED
    assert {v.name: v.state for v in result.variants} == {
        "torch-again": VariantState.PASSED,
        "ort": VariantState.PASSED,
        "ort-int8": VariantState.REJECTED,
        "not-prepared": VariantState.SKIPPED,
        "damaged": VariantState.FAILED,
        "ov-bf16": bf16,
    }
    assert [v.name for v in result.variants] == [v.name for v in VARIANTS]
    damaged = next(v for v in result.variants if v.name == "damaged")
    assert damaged.reason is VariantReason.BUILD_FAILED
    assert damaged.message is not None
    assert damaged.message.startswith("OpenVINO")


def test_quality_is_that_of_the_pixels(
    measured: tuple[MeasureResult, str, list[str]], bench: Bench, model_files: ModelFiles
) -> None:
    values = []
    for path in sorted((bench.root / "evaluation").iterdir()):
        feed = np.asarray(Image.open(path), np.float32).transpose(2, 0, 1)[None] / 255
        outputs = [
            ort.InferenceSession(str(file)).run(None, {"image": np.ascontiguousarray(feed)})[0]
            for file in (model_files.onnx, model_files.int8)
        ]
        error = np.mean((outputs[0].astype(np.float64) - outputs[1]) ** 2)
        values.append(float(10 * np.log10(1 / error)))
    int8 = next(v for v in measured[0].variants if v.name == "ort-int8")
    psnr = next(q for q in int8.quality if q.metric is QualityMetric.PSNR)
    assert psnr.per_sample == pytest.approx(values, abs=0.05)
    assert psnr.worst == pytest.approx(min(values), abs=0.05)
    assert int8.reason is VariantReason.QUALITY_GATE


def test_the_same_program_agrees_exactly_with_itself(
    measured: tuple[MeasureResult, str, list[str]],
) -> None:
    again = next(v for v in measured[0].variants if v.name == "torch-again")
    assert [(q.worst, q.exact) for q in again.quality] == [(200.0, True), (1.0, True)]


def test_speed_is_measured_at_every_point_and_speedup_follows(
    measured: tuple[MeasureResult, str, list[str]],
) -> None:
    result = measured[0]
    for variant in (present(result.baseline), *result.variants):
        if variant.state in (VariantState.PASSED, VariantState.REJECTED):
            assert [p.point for p in variant.points] == ["one", "four"]
            assert all(
                p.runs >= (p.rounds or 0) >= 6 and p.latency_ms.p50 > 0 for p in variant.points
            )
            assert all(p.latency_ms.p50 <= p.latency_ms.p99 for p in variant.points)
            assert variant.points[1].dimensions == {"batch": 4, "height": 32, "width": 32}
            over = variant.compared_with("baseline", ObjectiveMetric.LATENCY_P50, "one")
            assert variant.speedup == pytest.approx(1.0 if over is None else over.ratio)
            assert variant.speedup_interval == (over and over.interval)
            assert (over is None) == (variant is result.baseline)
            assert variant.peak_memory_bytes is not None
            assert 30 * 2**20 < variant.peak_memory_bytes < 4 * 2**30
    baseline, ort_fp32 = present(result.baseline), result.variants[1]
    assert (baseline.peak_memory_bytes or 0) > (ort_fp32.peak_memory_bytes or 0)


def test_what_each_form_has_to_do_and_really_executes_is_told(
    measured: tuple[MeasureResult, str, list[str]],
) -> None:
    result, _, steps = measured
    assert "peaks" in steps
    peaks = present(result.peaks)
    products = {p: n * 32 * 32 * 9 * (3 * 16 + 16 * 12) for p, n in (("one", 1), ("four", 4))}
    by_name = {v.name: v for v in (present(result.baseline), *result.variants)}
    # A program has the products of its exported file.
    for name in ("baseline", "torch-again", "ort", "ort-int8"):
        for point in by_name[name].points:
            work = present(point.work)
            kind = "INT8" if name == "ort-int8" else "FP32"
            assert work.products == {kind: products[point.point]}
            assert (point.limit is not None) is (kind in peaks.products)
    assert present(by_name["ort"].executed).by_type == {"FP32": 2}
    assert present(by_name["ort-int8"].executed).by_type == {"INT8": 2}
    assert by_name["baseline"].executed is None
    assert by_name["damaged"].executed is None


def test_the_winner_passed_and_is_stored(
    measured: tuple[MeasureResult, str, list[str]], bench: Bench
) -> None:
    result, digest, _ = measured
    passed = {v.name for v in result.variants if v.state is VariantState.PASSED}
    assert result.selected in passed | {"baseline"}
    verdict = present(result.verdict)
    assert verdict.winner == result.selected
    assert verdict.rounds == present(present(result.everyone[0]).at("one")).rounds
    others = {*verdict.ties, *verdict.undecided}
    assert others <= passed | {"baseline"} - {result.selected}
    assert (verdict.stopped == "Decided") == (not others)
    assert MeasureResult.model_validate_json(bench.blobs.read(digest)) == result
    for variant in (present(result.baseline), *result.variants):
        if variant.artifact is not None:
            assert bench.blobs.intact(variant.artifact.digest, variant.artifact.size_bytes)
    source = present(present(result.baseline).artifact)
    assert source.digest == f"sha256:{bench.plan.model.sha256}"


def test_the_page_tells_all_of_it(
    measured: tuple[MeasureResult, str, list[str]], bench: Bench
) -> None:
    result, digest, _ = measured
    page = HtmlPage((bench.root / "output" / page_key(digest)).read_text(encoding="utf-8"))
    assert page.faults == []
    assert all(value.startswith("data:image/webp;base64,") for value in page.references)
    for variant in (present(result.baseline), *result.variants):
        assert variant.name in page.text
        assert variant.reason is None or REASONS[variant.reason] in page.text
        assert variant.message is None or " ".join(variant.message.split()) in page.text
    for gate in bench.plan.quality:
        assert gate_text(gate) in page.text
    assert all(name in page.text for name in result.evaluation_names)
    assert digest in page.text


def test_pictures_are_of_the_pixels(
    measured: tuple[MeasureResult, str, list[str]], bench: Bench
) -> None:
    result, _, _ = measured
    assert result.crops is not None
    crops = Crops.model_validate_json(bench.blobs.read(result.crops))
    compared = [v for v in result.variants if v.quality]
    assert crops.samples
    for sample in crops.samples:
        assert (sample.width, sample.height) == (2 * TILE, 2 * TILE)
        assert [v.variant for v in sample.variants] == [v.name for v in compared]
        # The part is the whole image here.
        for variant, part in zip(compared, sample.variants, strict=True):
            psnr = next(q for q in variant.quality if q.metric is QualityMetric.PSNR)
            assert psnr.per_sample is not None
            assert part.psnr == pytest.approx(psnr.per_sample[sample.sample], abs=1e-6)


def test_the_calls_spread_is_recorded(measured: tuple[MeasureResult, str, list[str]]) -> None:
    for point in present(measured[0].baseline).points:
        assert len(point.quantiles_ms) == LATENCY_QUANTILES
        assert point.quantiles_ms == sorted(point.quantiles_ms)
        assert point.quantiles_ms[10] == pytest.approx(point.latency_ms.p50, rel=1e-3)


def test_surroundings_are_recorded(measured: tuple[MeasureResult, str, list[str]]) -> None:
    result = measured[0]
    assert result.hardware.threads == 1
    assert {"python", "torch", "onnxruntime", "openvino"} <= result.software.keys()
    assert result.evaluation_samples == 2
    assert {"evaluationData", "fetch", "trials"} <= result.seconds.keys()


def test_an_equal_measurement_is_served_from_the_store(
    measured: tuple[MeasureResult, str, list[str]], bench: Bench, tmp_path: Path
) -> None:
    result, digest, steps = bench.measure(bench.plan, tmp_path / "again")
    assert result.served_from_store
    assert not measured[0].served_from_store
    assert (result.model_copy(update={"served_from_store": False}), digest) == measured[:2]
    assert "trials" not in steps


def test_a_page_that_is_gone_is_rendered_again_without_measuring(
    measured: tuple[MeasureResult, str, list[str]], bench: Bench, tmp_path: Path
) -> None:
    page = bench.root / "output" / page_key(measured[1])
    before = page.read_bytes()
    page.unlink()
    _, _, steps = bench.measure(bench.plan, tmp_path / "again")
    assert page.read_bytes() == before
    assert "trials" not in steps


def test_without_evaluation_data_nothing_is_compared(bench: Bench, tmp_path: Path) -> None:
    plan = bench.plan.model_copy(
        update={"evaluation": None, "quality": [], "variants": [VARIANTS[1]]}
    )
    result, _, _ = bench.measure(plan, tmp_path / "w", MOPT_REQUESTED_AT="now")
    assert (result.evaluation_digest, result.evaluation_samples) == (None, None)
    assert result.variants[0].quality == []
    assert result.crops is None
    assert result.variants[0].points[0].runs >= 10


def test_an_onnx_source_has_onnx_runtime_as_baseline(
    bench: Bench, model_files: ModelFiles, tmp_path: Path
) -> None:
    source = model_files.onnx
    plan = bench.plan.model_copy(
        update={
            "model": PlannedModel(
                uri=f"file://{source}", sha256=sha256(source), format=ModelFormat.ONNX
            ),
            "prepared": prepared(bench.blobs, model_files, source, ModelFormat.ONNX),
            "quality": [],
            "variants": [VARIANTS[1]],
        }
    )
    result, _, _ = bench.measure(plan, tmp_path / "w")
    assert present(result.baseline).runtime is Runtime.ONNX_RUNTIME
    assert result.variants[0].quality[0].exact
    assert [q.metric for q in result.variants[0].quality] == [
        QualityMetric.PSNR,
        QualityMetric.SSIM,
    ]


def test_torchscript_runs_eagerly_as_baseline_and_as_variant(
    bench: Bench, model_files: ModelFiles, tmp_path: Path
) -> None:
    source = model_files.script
    plan = bench.plan.model_copy(
        update={
            "model": PlannedModel(
                uri=f"file://{source}", sha256=sha256(source), format=ModelFormat.TORCH_SCRIPT
            ),
            "prepared": prepared(bench.blobs, model_files, source, ModelFormat.TORCH_SCRIPT),
            "quality": [],
            "variants": VARIANTS[:2],
        }
    )
    result, _, _ = bench.measure(plan, tmp_path / "w")
    assert present(result.baseline).runtime is Runtime.PYTORCH
    served = present(present(result.baseline).artifact)
    assert served.format is ArtifactFormat.TORCH_SCRIPT
    again, ort_fp32 = result.variants
    assert [(q.worst, q.exact) for q in again.quality] == [(200.0, True), (1.0, True)]
    assert ort_fp32.state is VariantState.PASSED
    assert ort_fp32.quality[0].worst > 100


def test_torchscript_that_is_garbage_fails_as_baseline(bench: Bench, tmp_path: Path) -> None:
    garbage = tmp_path / "model.ts"
    garbage.write_bytes(b"PK" + b"\0" * 500)
    model = PlannedModel(
        uri=f"file://{garbage}", sha256=sha256(garbage), format=ModelFormat.TORCH_SCRIPT
    )
    with pytest.raises(BaselineError, match="not a TorchScript file"):
        bench.measure(bench.plan.model_copy(update={"model": model}), tmp_path / "w")


def test_a_program_that_is_garbage_fails_as_baseline(bench: Bench, tmp_path: Path) -> None:
    garbage = tmp_path / "model.pt2"
    garbage.write_bytes(b"PK" + b"\0" * 500)
    model = PlannedModel(
        uri=f"file://{garbage}", sha256=sha256(garbage), format=ModelFormat.EXPORTED_PROGRAM
    )
    with pytest.raises(BaselineError, match=r"\.pt2|zip"):
        bench.measure(bench.plan.model_copy(update={"model": model}), tmp_path / "w")


def test_another_model_than_named_is_refused(bench: Bench, tmp_path: Path) -> None:
    model = bench.plan.model.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DigestMismatch, match="0" * 64):
        bench.measure(bench.plan.model_copy(update={"model": model}), tmp_path / "w")


def test_a_missing_manifest_is_told(bench: Bench, tmp_path: Path) -> None:
    plan = bench.plan.model_copy(update={"prepared": f"sha256:{'1' * 64}"})
    with pytest.raises(ObjectNotFound):
        bench.measure(plan, tmp_path / "w")


def test_a_manifest_that_is_none_is_told(bench: Bench, tmp_path: Path) -> None:
    plan = bench.plan.model_copy(update={"prepared": bench.blobs.put_bytes(b"{}")})
    with pytest.raises(DataError, match="no manifest"):
        bench.measure(plan, tmp_path / "w")


def test_a_variant_that_was_not_prepared_is_told(bench: Bench, tmp_path: Path) -> None:
    stranger = Variant(name="stranger", runtime=Runtime.OPENVINO, precision=Precision.FP32)
    plan = bench.plan.model_copy(update={"variants": [stranger]})
    with pytest.raises(SpecError, match="stranger"):
        bench.measure(plan, tmp_path / "w")
