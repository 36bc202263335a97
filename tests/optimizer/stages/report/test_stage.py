"""The report stage: a stored measurement judged by other gates, another point, another metric."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from html_page import HtmlPage
from present import present

from mopt_api.artifacts import page_key
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime
from mopt_api.figures import (
    Hardware,
    Latency,
    QualityReference,
    QualityResult,
    SourceInfo,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult
from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials, ReportPlan
from mopt_api.jobs.termination import ErrorSummary, MeasureSummary, decode, summarize_measure
from mopt_optimizer.errors import DataError, ObjectNotFound
from mopt_optimizer.progress import Log
from mopt_optimizer.stages.report.stage import report
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

SHA = "0" * 64


def variant(name: str, one: float, four: float, **fields: Any) -> VariantResult:
    """Return a measured variant; its latencies at the points `one` and `four`."""
    points = [
        PointResult(
            point=point,
            latency_ms=Latency(p50=ms, p90=ms, p99=ms),
            throughput=1000 / ms,
            runs=10,
            coefficient_of_variation=0.01,
        )
        for point, ms in (("one", one), ("four", four))
    ]
    plain: dict[str, Any] = {
        "runtime": Runtime.ONNX_RUNTIME,
        "precision": Precision.FP32,
        "state": VariantState.PASSED,
    }
    return VariantResult(name=name, points=points, **plain | fields)


def measured() -> MeasureResult:
    return MeasureResult(
        target="l4",
        source=SourceInfo(sha256=SHA, format=ModelFormat.ONNX, size_bytes=1000),
        prepared=f"sha256:{SHA}",
        hardware=Hardware(cpu="Test CPU", threads=2),
        software={"onnxruntime": "1.23"},
        baseline=variant("baseline", 10, 40),
        variants=[
            variant("steady", 5, 8),
            variant(
                "int8",
                2,
                30,
                precision=Precision.INT8,
                state=VariantState.REJECTED,
                reason=VariantReason.QUALITY_GATE,
                message="worst PSNR 38.00 is below 40",
                quality=[QualityResult(metric=QualityMetric.PSNR, worst=38, mean=39)],
            ),
            VariantResult(
                name="crashed",
                runtime=Runtime.OPENVINO,
                precision=Precision.BF16,
                state=VariantState.FAILED,
                reason=VariantReason.CRASHED,
            ),
        ],
        selected="steady",
        objective_point="one",
    )


def plan(tmp_path: Path, digest: str, **changes: Any) -> ReportPlan:
    fields: dict[str, Any] = {
        "target": "l4",
        "result": digest,
        "quality": [],
        "objective": {},
        "benchmark": {"points": [{"name": "one"}, {"name": "four"}]},
        "outputUri": f"file://{tmp_path}/out",
    }
    return ReportPlan.model_validate(fields | changes)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    store, prefix = open_store(f"file://{tmp_path}/out", Credentials.OUTPUT, {})
    return Blobs(store, prefix)


@pytest.fixture
def digest(blobs: Blobs) -> str:
    return blobs.put_bytes(json.dumps(measured().to_api()).encode())


@pytest.fixture
def log() -> Log:
    def ignore(*_: Any, **__: Any) -> None:
        return None

    return ignore


def test_without_the_gate_the_rejected_variant_wins(
    tmp_path: Path, digest: str, blobs: Blobs, log: Log
) -> None:
    result, written = report(plan(tmp_path, digest), {}, log)
    assert result.selected == "int8"
    passed = result.variants[1]
    assert (passed.state, passed.reason, passed.message) == (VariantState.PASSED, None, None)
    assert result.variants[2].state is VariantState.FAILED
    assert MeasureResult.model_validate_json(blobs.read(written)) == result
    assert written != digest
    assert MeasureResult.model_validate_json(blobs.read(digest)) == measured()


def test_other_point_has_other_speedups(tmp_path: Path, digest: str, log: Log) -> None:
    result, _ = report(plan(tmp_path, digest, objective={"point": "four"}), {}, log)
    assert (result.selected, result.objective_point) == ("steady", "four")
    assert result.variants[0].speedup == 5


def test_gate_is_rejudged(tmp_path: Path, digest: str, log: Log) -> None:
    gates = [{"metric": "PSNR", "minimum": 38.5, "aggregate": "Mean"}]
    result, _ = report(plan(tmp_path, digest, quality=gates), {}, log)
    assert result.selected == "int8"
    assert result.variants[0].reason is VariantReason.QUALITY_GATE


@pytest.mark.parametrize(
    ("minimum", "selected", "state"),
    [(30, "baseline", VariantState.PASSED), (32, None, VariantState.REJECTED)],
)
def test_ground_truth_judges_the_baseline_anew(
    tmp_path: Path,
    blobs: Blobs,
    log: Log,
    minimum: float,
    selected: str | None,
    state: VariantState,
) -> None:
    quality = [QualityResult(metric=QualityMetric.PSNR, worst=31, mean=31)]
    rejected = {
        "quality": quality,
        "state": VariantState.REJECTED,
        "reason": VariantReason.QUALITY_GATE,
        "message": "worst PSNR 31.00 is below 31.5",
    }
    before = measured().model_copy(
        update={
            "baseline": variant("baseline", 10, 40, **rejected),
            "variants": [],
            "selected": None,
            "reference": QualityReference.GROUND_TRUTH,
        }
    )
    stored = blobs.put_bytes(json.dumps(before.to_api()).encode())
    gates = [{"metric": "PSNR", "minimum": minimum}]
    result, _ = report(plan(tmp_path, stored, quality=gates), {}, log)
    assert (result.selected, present(result.baseline).state) == (selected, state)
    assert result.reference is QualityReference.GROUND_TRUTH
    assert (present(result.baseline).message is None) == (state is VariantState.PASSED)


def test_same_judgement_is_the_same_object(tmp_path: Path, digest: str, log: Log) -> None:
    _, first = report(plan(tmp_path, digest), {}, log)
    _, second = report(plan(tmp_path, digest), {}, log)
    assert first == second


def test_the_new_verdict_has_a_page_of_its_own(
    tmp_path: Path, digest: str, blobs: Blobs, log: Log
) -> None:
    gates = [{"metric": "PSNR", "minimum": 37}]
    _, written = report(plan(tmp_path, digest, quality=gates), {}, log)
    page = HtmlPage((tmp_path / "out" / page_key(written)).read_text(encoding="utf-8"))
    assert page.faults == []
    assert "int8 is selected" in page.text
    assert "worst PSNR ≥ 37 dB" in page.text
    assert not blobs.has_page(digest)


def test_what_was_told_follows_the_new_verdict(tmp_path: Path, blobs: Blobs, log: Log) -> None:
    told = measured().model_copy(
        update={"plan": {"stage": "Measure", "outputUri": "s3://o/p", "quality": []}}
    )
    digest = blobs.put_bytes(json.dumps(told.to_api()).encode())
    gates = [{"metric": "PSNR", "minimum": 37}]
    result, _ = report(plan(tmp_path, digest, quality=gates), {}, log)
    told_anew = result.to_api()["plan"]
    assert (told_anew["stage"], told_anew["outputUri"]) == ("Measure", "s3://o/p")
    assert [gate["minimum"] for gate in told_anew["quality"]] == [37]


def test_missing_point_is_named(tmp_path: Path, digest: str, log: Log) -> None:
    points = {"points": [{"name": "nine"}]}
    with pytest.raises(DataError, match="has no point nine; it has: one, four"):
        report(plan(tmp_path, digest, benchmark=points), {}, log)


def test_result_of_another_target_is_refused(tmp_path: Path, digest: str, log: Log) -> None:
    with pytest.raises(DataError, match="is of target l4, not a10"):
        report(plan(tmp_path, digest, target="a10"), {}, log)


def test_object_that_is_no_result_is_refused(tmp_path: Path, blobs: Blobs, log: Log) -> None:
    with pytest.raises(DataError, match=r"is no result\.json"):
        report(plan(tmp_path, blobs.put_bytes(b"{}")), {}, log)


def test_missing_object_is_told(tmp_path: Path, log: Log) -> None:
    with pytest.raises(ObjectNotFound):
        report(plan(tmp_path, f"sha256:{SHA}"), {}, log)


def run(tmp_path: Path, told: ReportPlan) -> tuple[int, str]:
    message = tmp_path / "message"
    environ = os.environ | {
        PLAN_VARIABLE: told.model_dump_json(by_alias=True, exclude_none=True),
        "MOPT_TERMINATION_LOG": str(message),
    }
    command = [sys.executable, "-m", "mopt_optimizer.main", "report", "--workdir", str(tmp_path)]
    ended = subprocess.run(command, env=environ, capture_output=True, timeout=120, check=False)
    return ended.returncode, message.read_text()


def test_job_ends_with_the_message_of_a_measurement(tmp_path: Path, digest: str) -> None:
    code, message = run(tmp_path, plan(tmp_path, digest))
    summary = decode(message)
    assert isinstance(summary, MeasureSummary)
    assert (code, summary.target, summary.selected) == (0, "l4", "int8")
    assert summary.result != digest


def test_job_without_its_object_fails_for_good(tmp_path: Path, digest: str) -> None:
    code, message = run(tmp_path, plan(tmp_path, f"sha256:{SHA}"))
    summary = decode(message)
    assert isinstance(summary, ErrorSummary)
    assert (code, summary.error.reason) == (70, "ObjectNotFound")


def test_a_target_is_unstable_where_the_point_that_is_judged_is(
    tmp_path: Path, blobs: Blobs, log: Log
) -> None:
    result = measured()
    one, four = present(result.baseline).points
    disturbed = one.model_copy(update={"unstable": True, "message": "throttled 40% of the time"})
    baseline = present(result.baseline).model_copy(update={"points": [disturbed, four]})
    stored = result.model_copy(update={"baseline": baseline})
    digest = blobs.put_bytes(json.dumps(stored.to_api()).encode())
    for point, expected in (("one", True), ("four", None)):
        told = report(plan(tmp_path, digest, objective={"point": point}), {}, log)
        summary = summarize_measure(*told)
        assert summary.unstable is expected
        assert ("unstable" in summary.to_api()) is (expected is not None)
