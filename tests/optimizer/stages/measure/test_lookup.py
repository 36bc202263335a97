"""When a measurement that is in the store is the answer, and when it is taken again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat, page_key
from mopt_api.benchmark import Benchmark
from mopt_api.enums import (
    ModelFormat,
    ObjectiveMetric,
    OnNoWinner,
    Precision,
    QualityMetric,
    Runtime,
    TargetKind,
)
from mopt_api.figures import SourceInfo, VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials, MeasurePlan, PlannedData, PlannedModel
from mopt_api.jobs.prepare_result import KindArtifacts, PreparedArtifact, PrepareResult
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.errors import DigestMismatch, ObjectNotFound
from mopt_optimizer.stages.measure.lookup import computed
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.manifest import manifest_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

PSNR = QualityGate(metric=QualityMetric.PSNR, minimum=10)
SSIM = QualityGate(metric=QualityMetric.SSIM, minimum=0.5)
UNREACHED = QualityGate(metric=QualityMetric.PSNR, minimum=199)


@dataclass
class Bench:
    """A prepared store, and what measures in it.

    Attributes:
        measured: Whether the last run measured.
    """

    folder: Path
    blobs: Blobs
    plan: MeasurePlan
    runs: int = 0
    measured: bool = False

    def run(self, **changes: Any) -> tuple[MeasureResult, str]:
        """Measure the plan with other fields; afterwards the result and its page are stored."""
        steps: list[str] = []
        self.runs += 1
        (work := self.folder / f"work-{self.runs}").mkdir()
        result, digest = measure(
            self.plan.model_copy(update=changes),
            dict(os.environ),
            work,
            lambda step, *_, **__: steps.append(step),
        )
        self.measured = "trials" in steps
        assert result.served_from_store is not self.measured
        # Of this run alone, so no part of result.json.
        result = result.model_copy(update={"served_from_store": False})
        assert MeasureResult.model_validate_json(self.blobs.read(digest)) == result
        assert self.blobs.has_page(digest)
        return result, digest

    def path(self, digest: str) -> Path:
        return self.folder / "out" / "blobs" / digest.replace(":", "/")


@pytest.fixture
def bench(model_files: ModelFiles, photographs: Path, tmp_path: Path) -> Bench:
    output = f"file://{tmp_path}/out"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, {}))
    # INT8 stands in as the baseline: what differs from it is not identical, nor called FP32.
    source, fp32 = model_files.int8, model_files.onnx
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    artifact = Artifact(
        digest=blobs.put_file(fp32), size_bytes=fp32.stat().st_size, format=ArtifactFormat.ONNX
    )
    manifest = PrepareResult(
        source=SourceInfo(sha256=sha256, format=ModelFormat.ONNX, size_bytes=source.stat().st_size),
        artifacts=[PreparedArtifact(name="fp32", artifact=artifact)],
        artifacts_by_kind={TargetKind.CPU: KindArtifacts(artifacts={"ort": "fp32"})},
    )
    sizes = DimensionRange(min=8, opt=16, max=64)
    plan = MeasurePlan(
        target="default",
        model=PlannedModel(uri=f"file://{source}", sha256=sha256, format=ModelFormat.ONNX),
        prepared=blobs.put_bytes(manifest_bytes(manifest)),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": sizes,
            "width": sizes,
        },
        evaluation=PlannedData(uri=f"file://{photographs}", samples=2, images=ImageTransform()),
        variants=[
            Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP16),
        ],
        quality=[PSNR],
        objective=Objective(),
        benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
        output_uri=output,
    )
    return Bench(tmp_path, blobs, plan)


def test_other_gates_and_objective_judge_what_was_measured(bench: Bench) -> None:
    first, digest = bench.run()
    assert bench.measured
    assert [v.state for v in first.variants] == [VariantState.PASSED]

    rejected, other = bench.run(quality=[UNREACHED])
    assert not bench.measured
    assert other != digest
    assert [v.state for v in rejected.variants] == [VariantState.REJECTED]
    assert rejected.variants[0].points == first.variants[0].points
    assert rejected.measured_at == first.measured_at
    assert bench.run(quality=[UNREACHED]) == (rejected, other)

    objective = Objective(
        metric=ObjectiveMetric.SIZE_BYTES, minimum_speedup=1000, on_no_winner=OnNoWinner.FAIL
    )
    none, _ = bench.run(objective=objective)
    assert not bench.measured
    assert none.selected is None
    assert none.plan is not None
    assert none.plan["objective"]["metric"] == "SizeBytes"
    assert none.plan["quality"] == [PSNR.to_api()]

    assert bench.run() == (first, digest)
    assert not bench.measured


def test_gate_on_what_was_not_computed_measures(bench: Bench) -> None:
    bench.run()
    result, _ = bench.run(quality=[PSNR, SSIM])
    assert bench.measured
    assert {q.metric for q in result.variants[0].quality} == {PSNR.metric, SSIM.metric}
    # That one has both.
    bench.run(quality=[SSIM])
    assert not bench.measured
    bench.run()
    assert not bench.measured
    bench.run(quality=[QualityGate(metric=QualityMetric.PSNR, minimum=30, data_range=255)])
    assert bench.measured


def test_a_measurement_has_its_gates_metrics_in_their_ranges() -> None:
    wide = QualityGate(metric=QualityMetric.PSNR, minimum=30, data_range=255)
    assert computed([PSNR, SSIM], [SSIM])
    assert computed([PSNR], [UNREACHED, PSNR])
    assert computed([PSNR], [])
    assert not computed([PSNR], [SSIM])
    assert not computed([PSNR], [wide])
    assert not computed([], [PSNR])


@pytest.mark.parametrize(
    "change",
    [
        {"target": "other"},
        {"benchmark": Benchmark(warmup_seconds=0, min_duration_seconds=0.2, threads=1)},
        {"variants": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_bears_on_the_figures_measures(bench: Bench, change: dict[str, Any]) -> None:
    bench.run()
    bench.run(**change)
    assert bench.measured


def cut_result(bench: Bench, _: MeasureResult, digest: str) -> None:
    path = bench.path(digest)
    path.write_bytes(path.read_bytes()[:-1])


def remove_result(bench: Bench, _: MeasureResult, digest: str) -> None:
    bench.path(digest).unlink()


def _index(bench: Bench) -> Path:
    (index,) = (bench.folder / "out" / "index").glob("measure-*")
    return index


def damage_index(bench: Bench, _: MeasureResult, __: str) -> None:
    _index(bench).write_bytes(b"\xff")


def point_to_the_manifest(bench: Bench, result: MeasureResult, _: str) -> None:
    _index(bench).write_text(result.prepared)


def point_to_another_result(bench: Bench, result: MeasureResult, _: str) -> None:
    other = result.model_copy(update={"plan": {**(result.plan or {}), "target": "other"}})
    _index(bench).write_text(bench.blobs.put_bytes(other.model_dump_json(by_alias=True).encode()))


def point_to_one_without_a_plan(bench: Bench, result: MeasureResult, _: str) -> None:
    other = result.model_copy(update={"plan": None})
    _index(bench).write_text(bench.blobs.put_bytes(other.model_dump_json(by_alias=True).encode()))


def remove_pictures(bench: Bench, result: MeasureResult, _: str) -> None:
    assert result.crops is not None
    bench.path(result.crops).unlink()


def damage_pictures(bench: Bench, result: MeasureResult, _: str) -> None:
    assert result.crops is not None
    bench.path(result.crops).write_bytes(b"{}")


def damage_served_file(bench: Bench, result: MeasureResult, _: str) -> None:
    path = bench.path(present(present(result.baseline).artifact).digest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        cut_result,
        remove_result,
        damage_index,
        point_to_the_manifest,
        point_to_another_result,
        point_to_one_without_a_plan,
        remove_pictures,
        damage_pictures,
        damage_served_file,
    ],
    ids=lambda damage: damage.__name__,
)
def test_damaged_measurement_is_taken_again(
    bench: Bench, damage: Callable[[Bench, MeasureResult, str], None]
) -> None:
    damage(bench, *bench.run())
    again = bench.run()
    assert bench.measured
    assert bench.run() == again
    assert not bench.measured


def test_lost_page_is_rendered_without_measuring(bench: Bench) -> None:
    _, digest = bench.run()
    (bench.folder / "out" / page_key(digest)).unlink()
    bench.run()
    assert not bench.measured


def test_damaged_manifest_is_told(bench: Bench) -> None:
    bench.run()
    path = bench.path(bench.plan.prepared)
    path.write_bytes(b"{}")
    with pytest.raises(DigestMismatch, match=bench.plan.prepared):
        bench.run()
    path.unlink()
    with pytest.raises(ObjectNotFound, match=path.name):
        bench.run()
