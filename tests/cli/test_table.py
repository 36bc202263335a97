"""What `mopt table` prints of a result."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mopt_api.jobs.measure_result import SearchEntry
from mopt_api.jobs.rounding import rounded_quality
from mopt_api.status import ModelOptimizationStatus
from mopt_cli.table import render, render_target

GATE = "worst PSNR 31.00 is below 40"


def plain() -> dict[str, Any]:
    return {
        "name": "default",
        "hardware": {"cpu": "Test CPU", "threads": 2},
        "point": "opt",
        "baseline": variant("baseline", 31),
        "report": {"digest": "sha256:0", "uri": "s3://out/blobs/sha256/0"},
    }


def shown(**target: Any) -> str:
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    console.print(render({"status": {"targets": [plain() | target]}}))
    return printed.getvalue()


def variant(name: str, worst: float, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "runtime": "ONNXRuntime",
        "precision": "FP32",
        "state": "Passed",
        "quality": [{"metric": "PSNR", "worst": worst, "mean": worst}],
    } | fields


def line(text: str, name: str) -> list[str]:
    return next(row for row in text.splitlines() if row.strip().startswith(name)).split()


def test_form_of_a_second_search_is_told() -> None:
    int8 = [variant("first", 40), variant("second", 41, aimedBy="Evaluation")]
    text = shown(variants=int8, selected="second")
    assert "second: its FP32 layers were searched again by what the evaluation data" in text
    assert text.count("searched again") == 1


def test_ground_truth_is_named_and_a_rejected_baseline_explained() -> None:
    rejected = {"state": "Rejected", "reason": "QualityGate", "message": GATE}
    text = shown(
        reference="GroundTruth",
        baseline=variant("baseline", 31, **rejected),
        variants=[variant("ort", 30.9, **rejected)],
    )
    assert "target default: Test CPU, 2 threads, point opt, quality against ground truth" in text
    assert line(text, "baseline")[1] == "Rejected"
    assert f"baseline: QualityGate: {GATE}" in text


def test_column_is_named_by_the_objective() -> None:
    for metric, heading in (("SizeBytes", "SMALLER"), ("LatencyP99", "SPEEDUP"), ("?", "SPEEDUP")):
        resource = {
            "spec": {"objective": {"metric": metric}},
            "status": {"targets": [plain() | {"variants": [variant("small", 40, speedup=3.0)]}]},
        }
        printed = io.StringIO()
        Console(file=printed, width=200).print(render(resource))
        assert heading in printed.getvalue()


def test_a_baseline_that_passes_shows_no_state() -> None:
    text = shown(reference="Baseline", baseline=variant("baseline", 31))
    assert "ground truth" not in text
    assert "Passed" not in text


def test_the_page_is_named_beside_the_result() -> None:
    where = {
        "digest": "sha256:0",
        "uri": "s3://out/blobs/sha256/0",
        "page": "s3://out/reports/0.html",
    }
    lines = shown(baseline=variant("baseline", 31), report=where).split("\n")
    assert "result: s3://out/blobs/sha256/0" in lines
    assert "report: s3://out/reports/0.html" in lines


def test_what_to_serve_is_named_and_figures_of_an_earlier_run_are_told() -> None:
    digest = f"sha256:{'0' * 64}"
    artifact = {
        "digest": digest,
        "sizeBytes": 3,
        "format": "ONNX",
        "uri": "s3://out/blobs/sha256/1",
        "variant": "small",
        "runtime": "OpenVINO",
        "precision": "INT8",
        "report": digest,
        "generation": 1,
        "time": "2026-11-01T12:00:00Z",
    }
    text = shown(baseline=variant("baseline", 31), artifact=artifact, fromEarlierRun=True)
    assert "serve: s3://out/blobs/sha256/1" in text.split("\n")
    assert "point opt, of an earlier run" in text
    assert "earlier" not in shown(baseline=variant("baseline", 31))


def test_an_unstable_measurement_is_told() -> None:
    baseline = variant("baseline", 31)
    assert "point opt, unstable: calls were disturbed" in shown(baseline=baseline, unstable=True)
    assert "unstable" not in shown(baseline=baseline)


def test_a_target_that_only_built_engines_is_told() -> None:
    engine = {"runtime": "TensorRT", "precision": "FP16", "state": "Built", "sizeBytes": 2**20}
    text = shown(
        baseline=None,
        point=None,
        computeCapabilities=["8.6", "12.0"],
        variants=[variant("tensorrt-fp16", 89, **engine)],
    )
    assert "2 threads, engines for compute capability 8.6, 12.0" in text
    assert "baseline" not in text
    assert line(text, "tensorrt-fp16") == (
        ["tensorrt-fp16", "Built", "-", "-", "-", "-", "PSNR", "89.00", "dB", "1.00", "-"]
    )


def test_what_auto_left_out_is_told() -> None:
    status = ModelOptimizationStatus.model_validate({"targets": [plain()]})
    left_out = [SearchEntry(variant="onnxruntime-fp16", taken=False, reason="no contender")]
    printed = io.StringIO()
    Console(file=printed, width=200).print(render_target(status.targets[0], left_out))
    assert "onnxruntime-fp16: not tried: no contender" in printed.getvalue()


def test_what_decided_is_named() -> None:
    quality = [
        {"metric": "Cosine", "worst": 0.95, "mean": 0.99, "part": "boxes[..., 4:84]"},
        {"metric": "SQNR", "worst": 31, "mean": 33, "output": "scores", "slice": "faces"},
    ]
    text = shown(variants=[variant("int8", 0, quality=quality)])
    assert "Cosine 0.95000 in boxes[..., 4:84]" in text
    assert "SQNR of faces of scores 31.00 dB" in text


@pytest.mark.parametrize("worst", [0.999998, 0.99999999, 0.9999999999])
@pytest.mark.parametrize("metric", ["Cosine", "SSIM", "Top1Agreement"])
def test_what_is_not_perfect_never_reads_as_1(metric: str, worst: float) -> None:
    quality = [{"metric": metric, "worst": worst, "mean": worst}]
    words = line(shown(variants=[variant("int8", 0, quality=quality)]), "int8")
    told = words[words.index(metric) + 1].rstrip("%")
    assert float(told) < (100 if metric == "Top1Agreement" else 1)
    assert rounded_quality(worst) < 1


def test_a_librarys_report_is_one_line() -> None:
    message = "no rule for operation: " + "node 17, " * 100
    failed = {"state": "Failed", "reason": "BuildFailed", "message": message}
    status = ModelOptimizationStatus.model_validate(
        {"targets": [plain() | {"variants": [variant("openvino", 1, **failed)]}]}
    )
    texts = []
    for verbose in (False, True):
        printed = io.StringIO()
        console = Console(file=printed, width=2000)
        console.print(render_target(status.targets[0], verbose=verbose))
        texts.append(next(r for r in printed.getvalue().splitlines() if "BuildFailed" in r).strip())
    assert len(texts[0]) < 300
    assert texts[0].endswith("(all of it: --verbose, or result.json)")
    assert message.strip() in texts[1]


LOAD = {
    "scenario": "Server",
    "serving": {"instances": 2, "threads": 1, "batch": 4},
    "throughput": 53.9,
    "latencyMs": {"p50": 20, "p90": 35, "p99": 48.2},
    "queries": 600,
}


def test_figures_under_load_have_columns_only_where_they_were_measured() -> None:
    loaded = shown(variants=[variant("a", 41, load=LOAD), variant("b", 41)], selected="a")
    assert "LOAD /s" in loaded
    assert "53.9" in loaded
    assert "48.2" in loaded
    assert "2 copies x 1 thread, batch 4" in loaded
    assert "LOAD" not in shown(variants=[variant("b", 41)], selected="b")


def test_recommendation_is_shown_with_what_every_target_costs() -> None:
    considered = {
        "target": "two",
        "variant": "int8",
        "serving": LOAD["serving"],
        "throughput": 53.9,
        "latencyMs": LOAD["latencyMs"],
        "costPerMillion": 0.2061,
        "pricePerHour": 0.04,
        "cpus": 2,
        "basis": "Measured",
    }
    other = considered | {"target": "half", "message": "CostPerMillion 3 is 50.0 % above 2"}
    told = {key: considered[key] for key in ("target", "variant", "serving", "basis")} | {
        "considered": [considered, other],
        "replicasFor": [{"rate": 1000, "replicas": 19, "costPerDay": 18.24}],
    }
    printed = io.StringIO()
    Console(file=printed, width=200).print(render({"status": {"recommendation": told}}))
    text = printed.getvalue()
    assert line(text, "* two")[-3:] == ["0.0400", "0.206", "Measured"]
    assert "half: CostPerMillion 3 is 50.0 % above 2" in text
    assert "1,000 requests/s: 19 replicas, 18.2 a day" in text


def test_a_speedup_has_its_interval_and_the_verdict_a_line() -> None:
    fast = variant("fast", 40, speedup=4.9, speedupInterval=[4.71, 5.1])
    verdict = {"winner": "fast", "stopped": "Decided", "metric": "LatencyP50", "rounds": 9}
    text = shown(variants=[fast], selected="fast", verdict=verdict)
    assert "4.90x [4.71, 5.10]" in text
    assert "verdict: certain at 99%, after 9 rounds" in text


def test_an_undecided_winner_is_never_silent() -> None:
    verdict = {"winner": "a", "stopped": "Budget", "metric": "LatencyP50", "undecided": ["b"]}
    forms = [variant("a", 40, speedup=4.9), variant("b", 40, speedup=4.8)]
    assert "verdict: undecided: b may be better" in shown(
        variants=forms, selected="a", verdict=verdict
    )


def test_a_p99_of_few_calls_is_called_the_largest() -> None:
    latency = {"p50": 1, "p90": 2, "p99": 3}
    forms = [
        variant("few", 40, latencyMs=latency, runs=42),
        variant("many", 40, latencyMs=latency, runs=662),
    ]
    text = shown(variants=forms)
    assert "P99 takes 662 calls; of fewer it is the largest: few largest of 42" in text
    assert "many largest" not in text


def test_remarks_stand_below_the_table() -> None:
    status = ModelOptimizationStatus.model_validate({"targets": [plain()]})
    printed = io.StringIO()
    remarks = ["of what this machine could reach at most: ort 25%"]
    Console(file=printed, width=200).print(render_target(status.targets[0], remarks=remarks))
    assert remarks[0] in printed.getvalue()
