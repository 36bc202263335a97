"""`mopt diff`: what changed from one result to another."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cli_process import Mopt

from mopt_api.enums import ObjectiveMetric
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_cli.plan_diff import changed_settings
from mopt_cli.result_diff import Change, Outcome, diff, outcome

GATE = {"metric": "PSNR", "minimum": 40}


def form(name: str, speedup: float | None, psnr: float = 42, **fields: Any) -> dict[str, Any]:
    interval = None if speedup is None else [speedup - 0.1, speedup + 0.1]
    return {
        "name": name,
        "runtime": "OpenVINO",
        "precision": "INT8",
        "state": "Passed",
        "speedup": speedup,
        "speedupInterval": interval,
        "quality": [{"metric": "PSNR", "worst": psnr, "mean": psnr + 1}],
        "artifact": {"digest": f"sha256:{'0' * 64}", "sizeBytes": 2**20, "format": "ONNX"},
    } | fields


def result(*variants: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "target": "default",
        "source": {"sha256": "0" * 64, "format": "ONNX", "sizeBytes": 10},
        "prepared": f"sha256:{'0' * 64}",
        "hardware": {"cpu": "Test [red]CPU", "threads": 2},
        "software": {"openvino": "2026.1", "mopt": "0.1.0"},
        "baseline": form("baseline", 1.0, 90),
        "variants": list(variants),
        "selected": "fast",
        "objectivePoint": "opt",
        "plan": {"quality": [GATE], "objective": {"metric": "LatencyP50"}},
    } | fields


def parsed(raw: dict[str, Any]) -> MeasureResult:
    return MeasureResult.model_validate(raw)


BEFORE = result(form("fast", 2.0), form("gone", 1.5))
REJECTED = {"state": "Rejected", "reason": "QualityGate"}
AFTER = result(
    form("fast", 3.0, 39, **REJECTED),
    form("new", 2.5, artifact=None),
    selected="new",
    software={"openvino": "2026.2", "mopt": "0.1.0"},
    plan={"quality": [GATE | {"minimum": 39.5}], "objective": {"metric": "LatencyP50"}},
)


@pytest.mark.parametrize(
    ("before", "after", "metric", "expected"),
    [
        ((2.0, [1.9, 2.1]), (2.0, [1.8, 2.2]), "LatencyP50", Outcome.SAME),
        ((2.0, [1.9, 2.1]), (2.3, [2.2, 2.4]), "LatencyP50", Outcome.BETTER),
        ((2.3, [2.2, 2.4]), (2.0, [1.9, 2.1]), "LatencyP50", Outcome.WORSE),
        ((2.0, [1.9, 2.1]), (2.1, [2.1, 2.2]), "LatencyP50", Outcome.NOT_TOLD_APART),
        ((2.0, None), (9.0, [8.9, 9.1]), "LatencyP50", Outcome.UNKNOWN),
        ((2.0, None), (2.1, None), "SizeBytes", Outcome.BETTER),
        ((2.1, None), (2.0, None), "SizeBytes", Outcome.WORSE),
        ((2.0, [1.9, 2.1]), (9.0, [8.9, 9.1]), None, Outcome.UNKNOWN),
        ((None, None), (2.0, [1.9, 2.1]), "LatencyP50", Outcome.UNKNOWN),
        (None, (2.0, [1.9, 2.1]), "LatencyP50", Outcome.UNKNOWN),
    ],
    ids=[
        "the same ratio",
        "above the interval before",
        "below the interval before",
        "intervals that touch",
        "no interval",
        "sizes have none, and need none: smaller",
        "sizes have none, and need none: larger",
        "other objectives",
        "not measured before",
        "not there before",
    ],
)
def test_speedups_differ_where_their_intervals_do(
    before: tuple[Any, Any] | None,
    after: tuple[Any, Any] | None,
    metric: str | None,
    expected: Outcome,
) -> None:
    def made(figures: tuple[Any, Any] | None) -> VariantResult | None:
        if figures is None:
            return None
        speedup, interval = figures
        return VariantResult.model_validate(form("x", speedup, speedupInterval=interval))

    wanted = None if metric is None else ObjectiveMetric(metric)
    assert outcome(made(before), made(after), wanted) is expected


def test_all_that_changed_is_told_once() -> None:
    found = diff(parsed(BEFORE), parsed(AFTER))
    assert found.winner == Change(what="winner", before="fast", after="new")
    assert found.facts == [
        Change(what="gates", before="worst PSNR ≥ 40 dB", after="worst PSNR ≥ 39.5 dB"),
        Change(what="openvino", before="2026.1", after="2026.2"),
    ]
    assert [each.name for each in found.forms] == ["baseline", "fast", "gone", "new"]
    assert [each.differs for each in found.forms] == [False, True, True, True]
    baseline, fast, gone, new = found.forms
    assert baseline.speedup.outcome is Outcome.SAME
    assert (fast.before_state, fast.after_state) == ("Passed", "Rejected")
    assert fast.speedup.outcome is Outcome.BETTER
    (gate,) = fast.gates
    assert gate.gate == "worst PSNR ≥ 40 dB -> worst PSNR ≥ 39.5 dB"
    assert (gate.before, gate.before_passed) == ("42.00 dB", True)
    assert (gate.after, gate.after_passed) == ("39.00 dB", False)
    assert (gone.before_state, gone.after_state) == ("Passed", None)
    assert (new.before_bytes, new.after_bytes, new.gates[0].before) == (None, None, "-")


def test_a_result_does_not_differ_from_itself() -> None:
    found = diff(parsed(BEFORE), parsed(copy.deepcopy(BEFORE)))
    assert (found.facts, found.differs) == ([], False)


def test_another_version_alone_is_no_difference_of_forms() -> None:
    other = parsed(BEFORE | {"software": {"openvino": "2026.2"}})
    found = diff(parsed(BEFORE), other)
    assert [fact.what for fact in found.facts] == ["mopt", "openvino"]
    assert not found.differs


def test_a_gate_of_one_result_alone_shows_the_value_of_both() -> None:
    found = diff(parsed(BEFORE), parsed(BEFORE | {"plan": None}))
    (gate,) = found.forms[1].gates
    assert (gate.before, gate.before_passed, gate.after, gate.after_passed) == (
        *("42.00 dB", True),
        *("42.00 dB", None),
    )


PLAN: dict[str, Any] = {
    "stage": "Measure",
    "target": "default",
    "model": {"uri": "s3://a/model.onnx"},
    "prepared": "one",
    "outputUri": "s3://a/out",
    "quality": [GATE],
    "objective": {"metric": "LatencyP50", "point": "opt", "minimumSpeedup": 1.1},
    "evaluation": {"uri": "s3://a/data", "samples": 8},
    "dimensions": {"name": {"min": 1, "opt": 1, "max": 8}},
    "benchmark": {"warmupSeconds": 0.5, "points": [{"name": "opt", "dimensions": {"name": 1}}]},
    "variants": [{"name": "fast", "precision": "INT8"}, {"name": "gone", "precision": "FP32"}],
    "search": {"threads": 2},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prepared": "other", "outputUri": "s3://b", "search": {"threads": 4}}, []),
        ({"quality": [], "model": {}}, []),
        ({"evaluation": {"uri": "s3://b", "samples": 4}}, [("evaluation.samples", "8", "4")]),
        (
            {"objective": {"metric": "SizeBytes", "point": "x"}},
            [("objective.minimumSpeedup", "1.1", None)],
        ),
        (
            {"dimensions": {"name": {"min": 1, "opt": 2, "max": 8}}},
            [("dimensions.name.opt", "1", "2")],
        ),
        (
            {"benchmark": {"points": [{"name": "opt", "dimensions": {"name": 4}}]}},
            [
                ("benchmark.warmupSeconds", "0.5", None),
                ("benchmark.points.opt.dimensions.name", "1", "4"),
            ],
        ),
        (
            {"variants": [{"name": "fast", "precision": "FP16"}, {"name": "new"}]},
            [("variants.fast.precision", "INT8", "FP16")],
        ),
        ({"kind": None, "computeCapabilities": []}, [("computeCapabilities", None, "[]")]),
    ],
    ids=[
        "what is no setting",
        "what a result says by itself",
        "fewer samples",
        "a bound of the objective",
        "a dimension that is called name",
        "a point by its name, and a field that is gone",
        "a form that both have; not one of a single result",
        "null is no value",
    ],
)
def test_settings_differ_field_by_field(
    changes: dict[str, Any], expected: list[tuple[str, str | None, str | None]]
) -> None:
    assert list(changed_settings(PLAN, PLAN | changes)) == expected


def test_without_a_plan_no_setting_is_known() -> None:
    assert list(changed_settings(None, PLAN)) == []
    found = diff(parsed(BEFORE | {"plan": PLAN}), parsed(BEFORE | {"plan": PLAN | {"kind": "x"}}))
    assert found.settings == [Change(what="kind", after="x")]
    assert not found.differs


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    for name, raw in (("a.json", BEFORE), ("b.json", AFTER)):
        (tmp_path / name).write_text(json.dumps(raw))
    return "a.json", "b.json"


def test_files_are_compared_on_the_terminal(mopt_here: Mopt, files: tuple[str, str]) -> None:
    done = mopt_here("diff", *files)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "A a.json: target default, Test [red]CPU"
    assert "winner: fast -> new" in lines
    assert "openvino 2026.1 2026.2" in lines
    row = next(line for line in lines if line.startswith("fast "))
    assert row == (
        "fast Passed -> Rejected 2.00x [1.90, 2.10] 3.00x [2.90, 3.10] better "
        "42.00 dB -> 39.00 dB MISSED 1.00"
    )


@pytest.mark.parametrize(
    ("second", "code"), [("a.json", 0), ("b.json", 1)], ids=["the same", "another"]
)
def test_a_script_is_told_by_the_exit_status(
    mopt_here: Mopt, files: tuple[str, str], second: str, code: int
) -> None:
    assert mopt_here("diff", "a.json", second).returncode == 0
    done = mopt_here("diff", "a.json", second, "--exit-code", "-o", "json")
    assert done.returncode == code
    found = json.loads(done.stdout)
    assert found["winner"]["before"] == "fast"
    assert found["forms"][1]["speedup"]["beforeInterval"] == [1.9, 2.1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere.json", "nowhere.json is not a file: give a result.json, or NAME"),
        ("s3://bucket/x", "is no result.json in a store"),
        ("broken.json", "is not a result.json"),
    ],
)
def test_what_is_no_result_is_one_line(
    mopt_here: Mopt, files: tuple[str, str], tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "broken.json").write_text("{}")
    done = mopt_here("diff", files[0], text)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
