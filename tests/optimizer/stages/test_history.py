"""Measurements of a graph in a store, for those who come with other weights of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from measured_graph import THERE, measured

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.auto.int8 import CpuClass
from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.enums import Aggregate, ModelFormat, QualityMetric, TargetKind
from mopt_api.figures import Hardware, SourceInfo
from mopt_api.jobs.outrun import Measured
from mopt_api.jobs.plan import MeasurePlan, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import FallbackReport, PrepareResult, QuantizationReport
from mopt_api.jobs.question import question_of
from mopt_optimizer.stages.history import recall, remember
from mopt_optimizer.stages.prepare.manifest import manifest_bytes
from mopt_optimizer.stages.prepare.other_weights import OtherWeights, told_by_others
from mopt_optimizer.stages.step_keys import history_key
from mopt_optimizer.stages.steps import ExportEntry
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.folder import FileStore

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
GRAPH, SOFTWARE = "a" * 64, {"mopt": "1"}
FP32, OTHER = "openvino-fp32", "onnxruntime-fp32"
LOST = {FP32: 2.0, OTHER: 1.0}
NARROW = Hardware(cpu="old", architecture="x86_64", cpu_features=["avx2"])


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(FileStore(tmp_path), "out")


def question(plan: MeasurePlan) -> str:
    found = question_of(
        plan.benchmark, plan.objective, plan.quality, plan.dimensions, references=False
    )
    assert found is not None
    return found


def stored(blobs: Blobs, one: Measured, graph: str | None = GRAPH) -> str:
    """Store a measurement as the measure stage does; return its digest."""
    manifest = PrepareResult(
        source=one.result.source,
        artifacts=[],
        artifacts_by_kind={},
        graph=graph,
        software=SOFTWARE,
    )
    digest = blobs.put_bytes(result_bytes(one.result))
    remember(blobs, manifest, digest, one.result)
    return digest


def recalled(blobs: Blobs, **changes: Any) -> list[str]:
    asked = {"graph": GRAPH, "question": question(measured(LOST).plan), "kind": TargetKind.CPU}
    key = history_key(**(asked | {"software": SOFTWARE} | changes))
    return sorted(one.digest for one in recall(blobs, key, NOW))


def test_measurements_of_the_same_question_are_recalled(blobs: Blobs) -> None:
    here = stored(blobs, measured(LOST, day=20))
    there = stored(blobs, measured(LOST, hardware=THERE, day=21))
    assert recalled(blobs) == sorted([here, there])
    for other in (
        {"graph": "b" * 64},
        {"question": "b" * 64},
        {"kind": TargetKind.GPU},
        {"software": {"mopt": "2"}},
    ):
        assert recalled(blobs, **other) == []


def test_older_ones_stay_for_what_newer_ones_left_out(blobs: Blobs) -> None:
    first = stored(blobs, measured(LOST, day=8))
    later = [stored(blobs, measured({FP32: 2.0}, day=9 + n, weights=f"{n}" * 64)) for n in (1, 2)]
    assert recalled(blobs) == sorted([first, *later])
    third = stored(blobs, measured({FP32: 2.0}, day=20, weights="3" * 64))
    assert recalled(blobs) == sorted([first, later[1], third])
    whole = stored(blobs, measured(LOST, day=24, weights="4" * 64))
    assert recalled(blobs) == sorted([third, whole])
    again = stored(blobs, measured(LOST, day=25, weights="4" * 64))
    assert recalled(blobs) == sorted([third, again])


def test_what_is_gone_or_damaged_is_not_recalled(blobs: Blobs, tmp_path: Path) -> None:
    digest = stored(blobs, measured(LOST, day=20))
    (tmp_path / "out/blobs" / digest.replace(":", "/")).write_bytes(b"{}")
    assert recalled(blobs) == []
    (list_of_it,) = (tmp_path / "out/index").iterdir()
    list_of_it.write_text("nonsense")
    assert recalled(blobs) == []
    other = stored(blobs, measured(LOST, day=21))
    assert recalled(blobs) == [other]


def test_only_what_tells_something_is_remembered(blobs: Blobs, tmp_path: Path) -> None:
    one = measured(LOST, day=20)
    listed = one.plan.model_copy(update={"search": None}).to_api()
    open_verdict = {"verdict": one.result.verdict.model_copy(update={"stopped": "Budget"})}  # type: ignore[union-attr]
    for changes in ({"plan": listed}, open_verdict, {"baseline": None}, {"measured_at": None}):
        result = one.result.model_copy(update=changes)
        stored(blobs, Measured(one.digest, one.hardware, result, one.plan))
    stored(blobs, one, graph=None)
    assert not (tmp_path / "out/index").exists()


FACTS = SearchFacts(model_format=ModelFormat.ONNX, calibrated=True)


def unlogged(step: str, message: str, **fields: object) -> None: ...


def before(blobs: Blobs, *, weights: str = "f" * 64, **changes: Any) -> OtherWeights:
    plan = PreparePlan(
        model=PlannedModel(uri="s3://m/m", sha256=weights, format=ModelFormat.ONNX),
        inputs=[],
        dimensions={},
        variants=contenders(FACTS),
        output_uri="s3://o/o",
        search=FACTS,
        cpu_classes=[CpuClass.OTHER],
        question=question(measured(LOST).plan),
    )
    export = ExportEntry(
        key="k",
        artifact=Artifact(digest="sha256:" + "0" * 64, size_bytes=1, format=ArtifactFormat.ONNX),
        source=SourceInfo(sha256=weights, format=ModelFormat.ONNX, size_bytes=1),
        verifications=[],
        passes=[],
        operators={"Conv": 3},
        graph=GRAPH,
        seconds=1,
    )
    return told_by_others(plan.model_copy(update=changes), export, blobs, SOFTWARE, NOW, unlogged)


def left_out(found: OtherWeights) -> set[str]:
    return {name for one in found.outrun.values() for name in one.variants}


def test_other_weights_leave_out_what_lost(blobs: Blobs) -> None:
    assert not before(blobs)
    stored(blobs, measured(LOST, day=20))
    found = before(blobs).outrun[TargetKind.CPU]
    assert ({*found.variants}, len(found.hardware)) == ({OTHER}, 1)
    stored(blobs, measured({FP32: 1.0, OTHER: 1.0}, hardware=THERE, day=20))
    assert not before(blobs)


def test_the_same_weights_leave_out_nothing_by_themselves(blobs: Blobs) -> None:
    stored(blobs, measured(LOST, day=20))
    assert not before(blobs, weights="0" * 64)
    # Their own, later measurement hides nothing of the others': a second search sees the same.
    stored(blobs, measured({FP32: 2.0}, day=21, weights="f" * 64))
    assert left_out(before(blobs)) == {OTHER}


def test_only_cpus_that_forms_are_made_for_count(blobs: Blobs) -> None:
    stored(blobs, measured(LOST, day=20))
    stored(blobs, measured({FP32: 1.0, OTHER: 1.0}, hardware=NARROW, day=20))
    assert left_out(before(blobs)) == {OTHER}
    assert not before(blobs, cpu_classes=[*CpuClass])


@pytest.mark.parametrize(
    "changes", [{"search": None}, {"question": None}, {"kinds": [TargetKind.BUILD_ONLY]}], ids=str
)
def test_listed_variants_and_engines_are_all_made(blobs: Blobs, changes: dict[str, Any]) -> None:
    stored(blobs, measured(LOST, day=20))
    assert not before(blobs, **changes)


def test_what_is_no_contender_now_outruns_nothing(blobs: Blobs) -> None:
    stored(blobs, measured({"openvino-int8": 4.0, "openvino-int8-nncf": 2.0}, day=20))
    assert left_out(before(blobs)) == {"openvino-int8-nncf"}
    uncalibrated = FACTS.model_copy(update={"calibrated": False})
    assert not before(blobs, search=uncalibrated)


def searched(name: str, *excluded: str, aim: int | None = None) -> QuantizationReport:
    report = FallbackReport(
        metric=QualityMetric.PSNR,
        aggregate=Aggregate.WORST,
        quality_all_int8=30,
        quality=41,
        int8_mac_share=0.5,
        trials=9,
        aim_decibels=aim,
        exclude=list(excluded),
    )
    return QuantizationReport(name=name, quantized_nodes=1, fallbacks=[report])


def test_searches_start_where_the_latest_ended(blobs: Blobs) -> None:
    def week(day: int, *reports: QuantizationReport) -> None:
        one = measured(LOST, day=day, weights=f"{day % 10}" * 64)
        manifest = PrepareResult(
            source=one.result.source,
            artifacts=[],
            artifacts_by_kind={},
            quantizations=list(reports),
        )
        digest = blobs.put_bytes(manifest_bytes(manifest))
        result = one.result.model_copy(update={"prepared": digest})
        stored(blobs, Measured(one.digest, one.hardware, result, one.plan))

    week(19, searched("int8", "a"))
    assert before(blobs).starts == {"int8": ["a"]}
    week(20, searched("int8", "c", "b"), searched("nncf"), searched("int8-aimed", "d", aim=2))
    assert before(blobs).starts == {"int8": ["b", "c"]}
