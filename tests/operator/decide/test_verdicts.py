"""How sure a selection is: as a Job says it, and as it is judged again from status."""

from __future__ import annotations

from typing import Any

import pytest
from operator_world import World

from mopt_api.verdict import RunnerUp, Stopped, Verdict

DECIDED = Verdict(
    winner="openvino-bf16",
    stopped=Stopped.DECIDED,
    metric="LatencyP50",
    ratio=4.9,
    interval=[4.71, 5.1],
    runner_up=RunnerUp(name="onnxruntime-fp32", ratio=1.96, interval=[1.8, 2.1]),
    rounds=9,
)
UNDECIDED = Verdict(
    winner="openvino-bf16",
    stopped=Stopped.BUDGET,
    metric="LatencyP50",
    ratio=4.9,
    undecided=["onnxruntime-fp32"],
    rounds=96,
)
TIE = Verdict(
    winner="openvino-bf16", stopped=Stopped.TIE, metric="LatencyP50", ties=["onnxruntime-fp32"]
)


def told(world: World) -> Any:
    (target,) = world.status["targets"]
    return target.get("verdict")


def test_a_verdict_is_shown_as_its_job_returned_it(world: World) -> None:
    world.run(verdict=DECIDED, width=1.04)
    assert told(world) == DECIDED.to_api()
    message = world.condition("Ready")["message"]
    assert "openvino-bf16, 4.9x [4.7, 5.1] over PyTorch FP32" in message
    assert "decided" not in message
    assert world.status["summary"]["speedup"] == "4.9x"


@pytest.mark.parametrize(
    ("verdict", "words", "column"),
    [
        (UNDECIDED, "; undecided: onnxruntime-fp32 may be better", "4.9x undecided"),
        (TIE, "; tie within 2% with onnxruntime-fp32", "4.9x"),
    ],
    ids=["undecided", "tie"],
)
def test_doubt_is_in_the_message_and_the_column(
    world: World, verdict: Verdict, words: str, column: str
) -> None:
    world.run(verdict=verdict, width=1.5)
    assert world.condition("Ready")["message"].endswith(words)
    assert world.status["summary"]["speedup"] == column


def judged_anew(world: World, width: float, **change: Any) -> Any:
    """Measure with intervals so wide, and return the verdict by another gate."""
    world.run(verdict=DECIDED, width=width)
    world.lose_all_jobs()
    world.edit(**change)
    world.settle()
    return told(world)


LOWER_GATE = {"quality": [{"metric": "PSNR", "minimum": 39}]}


def test_other_gates_are_decided_where_intervals_are_disjoint(world: World) -> None:
    found = judged_anew(world, 1.01, **LOWER_GATE)
    assert world.jobs == {}
    assert (found["winner"], found["stopped"]) == ("onnxruntime-int8", "Decided")
    assert found["ratio"] == 5.1
    assert found["interval"] == pytest.approx([5.1 / 1.01, 5.1 * 1.01], rel=1e-3)
    assert found["runnerUp"]["name"] == "openvino-bf16"
    assert "rounds" not in found


def test_other_gates_are_undecided_where_intervals_overlap(world: World) -> None:
    found = judged_anew(world, 1.04, **LOWER_GATE)
    assert world.jobs == {}
    assert (found["winner"], found["stopped"]) == ("onnxruntime-int8", "Budget")
    assert found["undecided"] == ["openvino-bf16"]
    assert "; undecided: openvino-bf16 may be better" in world.condition("Ready")["message"]


def test_the_winner_that_stays_keeps_its_rounds(world: World) -> None:
    found = judged_anew(world, 1.01, quality=[{"metric": "PSNR", "minimum": 41}])
    assert (found["winner"], found["stopped"], found["rounds"]) == ("openvino-bf16", "Decided", 9)


def test_gates_back_again_are_judged_from_the_same_intervals(world: World) -> None:
    gates = world.raw["spec"]["quality"]
    judged_anew(world, 1.04, **LOWER_GATE)
    world.edit(quality=gates)
    world.settle()
    assert (told(world)["winner"], told(world)["stopped"]) == ("openvino-bf16", "Decided")


def test_an_older_result_is_judged_without_a_verdict(world: World) -> None:
    world.run()
    world.lose_all_jobs()
    world.edit(**LOWER_GATE)
    world.settle()
    assert told(world) is None
    assert world.status["summary"]["selected"] == "onnxruntime-int8"


def test_a_size_needs_no_interval_and_no_job(world: World) -> None:
    found = judged_anew(world, 1.04, objective={"metric": "SizeBytes"})
    assert world.jobs == {}
    assert found["metric"] == "SizeBytes"
    assert "interval" not in found


def test_another_metric_with_intervals_is_judged_from_the_result_in_the_store(
    world: World,
) -> None:
    world.run(verdict=DECIDED, width=1.04)
    world.edit(objective={"metric": "LatencyP99"})
    world.settle()
    assert world.stages()[-1] == "report"
