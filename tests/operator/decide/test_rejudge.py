"""Gates and objective are judged anew without measuring: from status, else by a report Job."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import Reason
from mopt_operator.decide.decide import Plan

POINTS = [{"name": "one"}, {"name": "four", "dimensions": {"batch": 4}}]


def variant(world: World, name: str) -> Any:
    (target,) = world.status["targets"]
    return next(v for v in target["variants"] if v["name"] == name)


def test_lower_gate_lets_a_rejected_variant_win(world: World) -> None:
    world.run()
    world.lose_all_jobs()
    assert variant(world, "onnxruntime-int8")["state"] == "Rejected"
    world.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    world.settle()
    assert world.jobs == {}
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["observedGeneration"] == 2
    assert world.status["summary"]["selected"] == "onnxruntime-int8"
    judged = variant(world, "onnxruntime-int8")
    assert judged["state"] == "Passed"
    assert "reason" not in judged
    assert "message" not in judged
    assert world.status["source"]["opset"] == 18
    assert world.decide() == Plan()


def test_higher_gate_rejects_the_winner_and_says_why(world: World) -> None:
    world.run()
    world.edit(quality=[{"metric": "PSNR", "minimum": 60}])
    world.settle()
    assert world.status["summary"]["selected"] == "onnxruntime-fp32"
    rejected = variant(world, "openvino-bf16")
    assert (rejected["state"], rejected["reason"], rejected["message"]) == (
        "Rejected",
        "QualityGate",
        "worst PSNR 58.34 is below 60",
    )


def test_tolerance_that_status_lacks_is_judged_by_a_small_job(world: World) -> None:
    """Status has what gates judged so far; result.json has every sample."""
    world.run()
    world.lose_all_jobs()
    world.edit(quality=[{"metric": "PSNR", "minimum": 35, "aggregate": "Tolerance"}])
    world.settle()
    assert set(world.stages()) == {"report"}


@pytest.mark.parametrize(
    ("objective", "selected"),
    [
        ({"metric": "SizeBytes"}, "onnxruntime-fp32"),
        ({"metric": "LatencyP99"}, "openvino-bf16"),
        ({"minimumSpeedup": 5}, "baseline"),
    ],
)
def test_other_objective_selects_from_status(
    world: World, objective: dict[str, Any], selected: str
) -> None:
    world.run()
    world.lose_all_jobs()
    world.edit(objective=objective)
    world.settle()
    assert world.jobs == {}
    assert world.status["targets"][0]["selected"] == selected


def test_gates_and_objective_back_again_say_the_same_as_before(world: World) -> None:
    world.run()
    before = [target | {"artifact": None} for target in world.status["targets"]]
    gates = world.raw["spec"]["quality"]
    world.edit(quality=[{"metric": "PSNR", "minimum": 60}], objective={"metric": "SizeBytes"})
    world.settle()
    assert world.status["targets"] != before
    world.edit(quality=gates, objective={})
    world.settle()
    assert [target | {"artifact": None} for target in world.status["targets"]] == before


@pytest.mark.parametrize(
    "change",
    [
        {"quality": [{"metric": "PSNR", "minimum": 40, "dataRange": 255}]},
        {"benchmark": {"minDurationSeconds": 9}},
        {"targets": [{"name": "default", "resources": {"limits": {"cpu": "4"}}}]},
        {"variants": [{"name": "a", "runtime": "OpenVINO", "precision": "FP32"}]},
        {"data": {"evaluation": {"uri": "s3://data/evaluation/", "samples": 8}}},
        {"output": {"uri": "s3://elsewhere/sr"}},
    ],
)
def test_what_bears_on_the_figures_measures_again(world: World, change: dict[str, Any]) -> None:
    world.run()
    world.lose_all_jobs()
    world.edit(**change)
    world.settle()
    assert world.stages() == ["prepare"]
    assert world.results == []


def test_gates_that_int8_is_made_to_hold_prepare_again(make_world: MakeWorld) -> None:
    world = make_world(variants=None)
    world.run()
    world.lose_all_jobs()
    world.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    world.settle()
    assert world.stages() == ["prepare"]
    assert world.results == []


def test_request_to_run_again_is_never_answered_from_status(world: World) -> None:
    world.run()
    world.request("again")
    world.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    world.settle()
    assert world.stages() == ["prepare"]


def test_new_target_is_measured_and_the_old_one_kept(make_world: MakeWorld) -> None:
    world = make_world(targets=[{"name": "a"}])
    world.run(("a",))
    world.edit(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    assert [t["name"] for t in world.status["targets"]] == ["a"]
    assert world.status["summary"]["targets"] == "1/2"
    assert world.stages()[-1] == "measure"
    world.measure(("b",))
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert [t["name"] for t in world.status["targets"]] == ["a", "b"]


@pytest.fixture
def elsewhere(make_world: MakeWorld) -> World:
    """Return a finished world whose objective now compares at a point that status lacks."""
    world = make_world(benchmark={"points": POINTS}, objective={"point": "one"})
    world.run(point="one")
    world.lose_all_jobs()
    world.edit(objective={"point": "four"})
    world.settle()
    return world


def test_other_point_is_selected_by_a_small_job_from_the_store(
    elsewhere: World, messages: Messages
) -> None:
    world = elsewhere
    assert world.stages() == ["report"]
    job = world.the_job(Stage.REPORT, "default")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["report"]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "256Mi"}
    assert "affinity" not in job["spec"]["template"]["spec"]
    assert world.said() == {
        "Ready": ("Unknown", "Selecting"),
        "Reconciling": ("True", "Selecting"),
    }
    assert world.status["progress"]["stage"] == "Report"
    world.complete(job, messages.measure(point="four", result="anew", selected="onnxruntime-fp32"))
    world.settle()
    assert world.stages() == ["report"]
    (target,) = world.status["targets"]
    assert (target["selected"], target["point"]) == ("onnxruntime-fp32", "four")
    assert target["optimizer"] == "mopt/optimizer:test"
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_figures_from_the_store_are_marked_through_every_new_verdict(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(benchmark={"points": POINTS}, objective={"point": "one"})
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.measure(point="one", served=True)
    (target,) = world.status["targets"]
    assert target["servedFromStore"] is True
    world.edit(quality=[{"metric": "PSNR", "minimum": 10}])
    world.settle()
    (target,) = world.status["targets"]
    assert target["servedFromStore"] is True
    world.lose_all_jobs()
    world.edit(objective={"point": "four"})
    world.settle()
    job = world.the_job(Stage.REPORT, "default")
    world.complete(job, messages.measure(point="four", result="anew"))
    world.settle()
    (target,) = world.status["targets"]
    assert (target["point"], target["servedFromStore"]) == ("four", True)


def test_figures_that_were_measured_here_have_no_such_mark(
    elsewhere: World, messages: Messages
) -> None:
    world = elsewhere
    job = world.the_job(Stage.REPORT, "default")
    world.complete(job, messages.measure(point="four", result="anew"))
    world.settle()
    (target,) = world.status["targets"]
    assert target["point"] == "four"
    assert "servedFromStore" not in target


def test_result_that_is_gone_from_the_store_is_measured_again(
    elsewhere: World, messages: Messages
) -> None:
    world = elsewhere
    job = world.the_job(Stage.REPORT, "default")
    words = messages.error(Reason.OBJECT_NOT_FOUND, "no result.json")
    world.terminated_pod(job, words, exit_code=70)
    world.end(job, "Failed", "PodFailurePolicy", "")
    world.settle()
    assert world.stages() == ["report", "prepare"]
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.measure(point="four")
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_lost_report_job_falls_back_to_measuring(elsewhere: World) -> None:
    elsewhere.lose_all_jobs()
    elsewhere.settle()
    assert elsewhere.stages() == ["prepare"]


def test_report_of_another_model_is_not_believed(elsewhere: World, messages: Messages) -> None:
    world = elsewhere
    job = world.the_job(Stage.REPORT, "default")
    world.edit(model=world.raw["spec"]["model"] | {"sha256": "b" * 64})
    world.complete(job, messages.measure(point="four"))
    world.settle()
    assert world.stages() == ["prepare"]
    assert world.results == []


def test_figures_of_a_newer_version_are_measured_again(world: World) -> None:
    world.run()
    world.lose_all_jobs()
    world.status["targets"][0]["variants"][0]["runtime"] = "Quantum"
    world.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    world.settle()
    assert world.stages() == ["report"]
