"""`mopt run` on a classifier whose evaluation data shows what its calibration data does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import Mopt
from job_messages import HOLDS, SHORT, digest, measure_message, prepare_message
from operator_world import manifest
from overexposed import SIZE, classifier, pictures

from mopt_api.jobs.plan import JobPlan, Stage
from mopt_api.jobs.termination import Summary, decode
from mopt_api.spec import ModelOptimizationSpec
from mopt_cli._errors import CliError, ExitCode
from mopt_cli.local_plan import LocalWork
from mopt_cli.local_stages import Outcome, run_stages

GATE = {"metric": "SQNR", "minimum": 28, "output": "scores"}
EXPOSURE = 1.25
"""Of the evaluation data; that of the calibration data is 1."""


@pytest.fixture
def arguments(tmp_path: Path, write: Callable[..., Path]) -> list[object]:
    classifier(tmp_path / "classifier.onnx")
    pictures(tmp_path / "calibration", 12, seed=1, exposure=1.0)
    pictures(tmp_path / "evaluation", 6, seed=2, exposure=EXPOSURE)
    file = write(
        model=None,
        inputs=[{"name": "image", "shape": ["batch", 3, SIZE, SIZE]}],
        dimensions={"batch": {"min": 1, "opt": 1, "max": 4}},
        variants=[{"name": "int8", "runtime": "ONNXRuntime", "precision": "INT8"}],
        quality=[GATE],
        # The same on every machine, as times are not.
        objective={"metric": "SizeBytes"},
    )
    return [
        *("run", file, "--model", "classifier.onnx", "--output", "out"),
        *("--calibration", "calibration", "--evaluation", "evaluation"),
    ]


def stored(tmp_path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (tmp_path / "out" / "blobs" / name.replace(":", "/")).read_bytes()
    )
    return found


@pytest.mark.optimizer
def test_second_search_holds_what_the_first_missed(
    mopt: Mopt, arguments: list[object], tmp_path: Path
) -> None:
    done = mopt(*arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    (int8,) = result["variants"]
    assert (int8["state"], result["selected"]) == ("Passed", "int8")
    assert int8["aimedBy"] == "Evaluation"
    assert int8["quality"][0]["worst"] >= GATE["minimum"]

    # The first result is in the store beside it, with what it fell short of.
    (report,) = stored(tmp_path, result["prepared"])["quantizations"][1:]
    (search,) = report["fallbacks"]
    assert search["minimum"] == GATE["minimum"]
    assert search["required"] >= GATE["minimum"] + search["aimDecibels"]
    assert search["quality"] >= search["required"]
    assert 0 < search["int8MacShare"] < 1
    first = next(
        found
        for path in (tmp_path / "out" / "blobs").rglob("*")
        if path.is_file()
        and path.read_bytes()[:1] == b"{"
        and (found := json.loads(path.read_bytes())).get("selected") == "baseline"
    )
    (missed,) = first["variants"]
    assert (missed["state"], missed["reason"]) == ("Rejected", "QualityGate")
    assert missed["quality"][0]["worst"] < GATE["minimum"]
    assert missed["aimDecibels"] == search["aimDecibels"]

    (page,) = (
        p.read_text() for p in (tmp_path / "out").rglob("*.html") if "aimed" in p.read_text()
    )
    assert "searched again by what the evaluation data showed" in page


class Stages:
    """Runs no stage: returns or raises what it is told, in order."""

    def __init__(self, *answers: str | CliError) -> None:
        self._answers = [*answers]
        self.plans: list[JobPlan] = []

    def __call__(self, plan: JobPlan) -> Summary:
        self.plans.append(plan)
        answer = self._answers.pop(0)
        if isinstance(answer, CliError):
            raise answer
        return decode(answer)


def outcome(*answers: str | CliError) -> tuple[Outcome, list[Stage]]:
    """Return what stages end with that answer so, and which ran."""
    spec = ModelOptimizationSpec.model_validate(manifest()["spec"])
    uris = dict.fromkeys(("model", "calibration", "evaluation"), "file:///a")
    stages = Stages(*answers)
    found = run_stages(LocalWork(spec, uris, "file:///out", "default"), stages)
    return found, [plan.stage for plan in stages.plans]


FIRST = (prepare_message(), measure_message(int8=SHORT))
FOUND = prepare_message(result="second", aimed=["onnxruntime-int8"])
BOTH = [Stage.PREPARE, Stage.MEASURE] * 2


def test_what_nothing_fell_short_of_is_measured_once() -> None:
    found, stages = outcome(prepare_message(), measure_message())
    assert (found.remark, stages) == (None, BOTH[:2])


def test_second_result_takes_the_place_of_the_first() -> None:
    found, stages = outcome(*FIRST, FOUND, measure_message(result="second", int8=HOLDS))
    assert (found.summary.result, found.remark, stages) == (digest("second"), None, BOTH)


def test_a_second_miss_is_the_last() -> None:
    still = measure_message(result="second", int8={"aimed_by": "Evaluation"})
    found, stages = outcome(*FIRST, FOUND, still)
    assert (found.summary.result, stages) == (digest("second"), BOTH)


def test_form_that_was_not_found_is_not_measured() -> None:
    found, stages = outcome(*FIRST, prepare_message(result="second"))
    assert (found.summary.result, stages) == (digest("result"), BOTH[:3])
    assert found.remark is not None
    assert "found no form" in found.remark


FAILED = CliError("StoreUnreachable: no route", ExitCode.FAILED)


@pytest.mark.parametrize("answers", [(FAILED,), (FOUND, FAILED)])
def test_second_search_that_fails_leaves_the_first_result(answers: tuple[str | CliError]) -> None:
    found, stages = outcome(*FIRST, *answers)
    assert (found.summary.result, stages) == (digest("result"), BOTH[: 2 + len(answers)])
    assert found.remark == "the second search for onnxruntime-int8 failed: " + str(FAILED)


@pytest.mark.parametrize("answers", [(FAILED,), (FIRST[0], FAILED)])
def test_first_stage_that_fails_ends_the_run(answers: tuple[str | CliError]) -> None:
    with pytest.raises(CliError, match="no route"):
        outcome(*answers)
