"""`mopt table`, and a result.json as the same table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_process import Mopt

from mopt_api.jobs.measure_result import MeasureResult
from mopt_cli.table import verdict

LATENCY = {"p50": 2.0, "p90": 2.5, "p99": 3.0}
POINT = {
    "point": "opt",
    "latencyMs": LATENCY,
    "throughput": 500,
    "runs": 9,
    "coefficientOfVariation": 0.1,
}
RESULT: dict[str, Any] = {
    "target": "default",
    "source": {"sha256": "0" * 64, "format": "ONNX", "sizeBytes": 10},
    "prepared": f"sha256:{'0' * 64}",
    "hardware": {"cpu": "Test [red]CPU", "threads": 2},
    "software": {},
    "baseline": {
        "name": "baseline",
        "runtime": "ONNXRuntime",
        "precision": "FP32",
        "state": "Passed",
        "points": [POINT],
    },
    "variants": [
        {
            "name": "fast",
            "runtime": "OpenVINO",
            "precision": "FP32",
            "state": "Passed",
            "speedup": 2.0,
            "speedupOverFastestFP32": 1.5,
            "points": [POINT],
        }
    ],
    "selected": "fast",
    "objectivePoint": "opt",
}


@pytest.mark.parametrize(
    ("selected", "words"),
    [
        ("fast", "fast wins: 2.00x over the baseline, 1.50x over the fastest FP32"),
        ("baseline", "the baseline is kept"),
        (None, "no variant passed"),
    ],
)
def test_verdict_says_what_was_selected(selected: str | None, words: str) -> None:
    assert verdict(MeasureResult.model_validate(RESULT | {"selected": selected})).startswith(words)


def _variant(name: str, p50: float, size: int, memory: int, **fields: Any) -> dict[str, Any]:
    baseline: dict[str, Any] = RESULT["baseline"]
    return baseline | {
        "name": name,
        "points": [POINT | {"latencyMs": {"p50": p50, "p90": 9.0, "p99": 9.0}}],
        "artifact": {"digest": f"sha256:{'0' * 64}", "sizeBytes": size, "format": "ONNX"},
        "peakMemoryBytes": memory,
        **fields,
    }


@pytest.mark.parametrize(
    ("ratio", "words", "heading"),
    [
        (3.0, "small wins: 3.0x smaller than the baseline, 3.0x smaller than the sm", "SMALLER"),
        (2.1, "small wins: uses 2.1x less memory than the baseline, uses 2.1x l", "LESS MEMORY"),
        (0.5, "small wins: 0.50x over the baseline, 0.50x over the fastest", "SPEEDUP"),
    ],
)
def test_ratio_is_called_what_it_is(
    mopt: Mopt, tmp_path: Path, ratio: float, words: str, heading: str
) -> None:
    small = _variant("small", 4.0, 100, 1000, speedup=ratio, speedupOverFastestFP32=ratio)
    result = RESULT | {
        "baseline": _variant("baseline", 2.0, 300, 2100),
        "variants": [small],
        "selected": "small",
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    shown = mopt("inspect", "result.json").stdout
    assert shown.startswith(words)
    assert heading in shown


def test_disturbed_measurement_is_said_in_the_headline() -> None:
    disturbed = RESULT["baseline"] | {"points": [POINT | {"unstable": True}]}
    for baseline, ending in ((disturbed, True), (RESULT["baseline"], False)):
        said = verdict(MeasureResult.model_validate(RESULT | {"baseline": baseline}))
        assert said.endswith("unstable: other processes used the CPU") is ending


def test_verdict_says_where_the_model_itself_misses_the_gates() -> None:
    rejected = RESULT["baseline"] | {"state": "Rejected", "reason": "QualityGate"}
    result = RESULT | {"selected": None, "baseline": rejected, "reference": "GroundTruth"}
    assert "the baseline misses them too" in verdict(MeasureResult.model_validate(result))


def test_result_json_is_shown_as_a_table(mopt: Mopt, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    done = mopt("inspect", "result.json")
    assert done.returncode == 0, done.stderr
    assert "target default: Test [red]CPU, 2 threads, point opt" in done.stdout
    assert "* fast" in done.stdout


def test_long_paths_are_not_wrapped(mopt: Mopt, tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 200)
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(RESULT))
    assert f"result: {folder}/result.json\n" in mopt("inspect", folder / "result.json").stdout


def test_other_json_is_no_result(mopt: Mopt, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    done = mopt("inspect", "other.json")
    assert done.returncode == 2
    assert done.stderr.startswith("mopt: other.json is not a result.json: target: Field required")


def test_resource_without_status_says_so(mopt: Mopt) -> None:
    text = "apiVersion: mopt.dev/v1alpha1\nkind: ModelOptimization\n"
    done = mopt("table", stdin=text)
    assert (done.returncode, done.stdout) == (0, "no status yet\n")


def test_status_is_printed_as_json(mopt: Mopt) -> None:
    resource = {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "status": {"observedGeneration": 3},
    }
    done = mopt("table", "-o", "json", stdin=json.dumps(resource))
    assert json.loads(done.stdout) == {"observedGeneration": 3}
