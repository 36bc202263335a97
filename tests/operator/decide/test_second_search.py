"""A form that misses a gate on evaluation data is searched once more, measured once more, and
never again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from job_messages import HOLDS, MODEL_SHA, SHORT, Messages, digest
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import PLAN_VARIABLE, Stage
from mopt_api.reasons import Reason
from mopt_operator.decide.decide import Plan

INT8 = "onnxruntime-int8"
STILL_SHORT = {"aimed_by": "Evaluation"}


def plan_of(job: dict[str, Any]) -> dict[str, Any]:
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    plan: dict[str, Any] = json.loads(
        next(v["value"] for v in environment if v["name"] == PLAN_VARIABLE)
    )
    return plan


def search_again(world: World, messages: Messages, target: str = "default") -> None:
    """Carry the second preparation to its end."""
    job = world.the_job(Stage.PREPARE, target)
    world.complete(job, messages.prepare(result="second", aimed=[INT8]))
    world.settle()


def measure_again(world: World, messages: Messages, **outcome: Any) -> None:
    """Carry the second measurement to its end."""
    job = world.the_job(Stage.MEASURE, "default")
    world.complete(job, messages.measure(result="second", **outcome))
    world.settle()


def shown(world: World, name: str = INT8) -> dict[str, Any]:
    (target,) = world.status["targets"]
    return next(v for v in target["variants"] if v["name"] == name)


def assert_first_stays(world: World, first: list[dict[str, Any]], why: str) -> None:
    """Assert that status has the first result, asks for no other search and says why."""
    (target,) = copy.deepcopy(first)
    int8 = next(v for v in target["variants"] if v["name"] == INT8)
    assert int8.pop("aimDecibels") == SHORT["aim_decibels"]
    assert shown(world)["message"].startswith(f"{int8['message']}; {why}")
    int8["message"] = shown(world)["message"]
    assert world.status["targets"] == [target]


def assert_at_rest(world: World) -> None:
    """Assert that nothing follows, with Jobs or without."""
    count = len(world.jobs)
    assert world.settle() == Plan()
    assert len(world.jobs) == count
    world.lose_all_jobs()
    assert world.settle() == Plan()
    assert not world.jobs


def test_second_search_that_holds_is_measured_and_selected(
    world: World, messages: Messages
) -> None:
    world.run(int8=SHORT)
    job = world.the_job(Stage.PREPARE, "default")
    assert plan_of(job)["aims"] == {
        INT8: [{"metric": "PSNR", "aggregate": "Worst", "decibels": 4}],
    }
    assert world.said() == {
        "Ready": ("Unknown", "Preparing"),
        "Reconciling": ("True", "Preparing"),
    }
    assert f"This is the second search for {INT8}" in world.condition("Ready")["message"]
    # Until then status has the first result.
    assert shown(world)["aimDecibels"] == 4
    assert world.status["targets"][0]["selected"] == "openvino-bf16"
    assert world.status["progress"]["targetsDone"] == 0

    search_again(world, messages)
    again = world.the_job(Stage.MEASURE, "default")
    assert again["metadata"]["annotations"]["mopt.dev/prepared"] == digest("second")
    assert world.said()["Ready"] == ("Unknown", "Measuring")

    measure_again(world, messages, selected=INT8, int8=HOLDS)
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert shown(world)["aimedBy"] == "Evaluation"
    assert "aimDecibels" not in shown(world)
    assert world.status["targets"][0]["report"]["digest"] == digest("second")
    message = world.condition("Ready")["message"]
    assert message.startswith(f"default: {INT8}, 5.0x over PyTorch FP32 eager")
    assert "its quality is not that on unseen data" in message
    assert world.stages() == ["prepare", "measure", "prepare", "measure"]
    assert_at_rest(world)


def test_a_second_miss_is_final(world: World, messages: Messages) -> None:
    world.run(int8=SHORT)
    search_again(world, messages)
    measure_again(world, messages, int8=STILL_SHORT)
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"][0]["selected"] == "openvino-bf16"
    assert (shown(world)["state"], shown(world)["aimedBy"]) == ("Rejected", "Evaluation")
    assert_at_rest(world)


def test_where_nothing_passed_the_second_search_decides(world: World, messages: Messages) -> None:
    world.run(selected=None, int8=SHORT)
    assert "Stalled" not in world.said()
    search_again(world, messages)
    measure_again(world, messages, selected=None, int8=STILL_SHORT)
    assert world.said()["Ready"] == ("False", "NoVariantPassed")
    assert world.status["progress"]["stage"] == "Measure"
    assert_at_rest(world)


def test_form_that_was_not_found_is_not_measured(world: World, messages: Messages) -> None:
    world.run(int8=SHORT)
    first = copy.deepcopy(world.status["targets"])
    world.complete(world.the_job(Stage.PREPARE, "default"), messages.prepare(result="second"))
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert_first_stays(world, first, "a second search found no form that holds the gates")
    assert world.stages() == ["prepare", "measure", "prepare"]
    assert_at_rest(world)


def _prepare_fails(world: World, messages: Messages) -> None:
    fail(world, messages, world.the_job(Stage.PREPARE, "default"))


def _measure_fails(world: World, messages: Messages) -> None:
    search_again(world, messages)
    fail(world, messages, world.the_job(Stage.MEASURE, "default"))


def fail(world: World, messages: Messages, job: dict[str, Any]) -> None:
    why = messages.error(Reason.STORE_UNREACHABLE, "s3://data is not reachable")
    world.terminated_pod(job, why, exit_code=1)
    world.end(job, "Failed", "BackoffLimitExceeded", "")
    world.settle()


@pytest.mark.parametrize("failing", [_prepare_fails, _measure_fails])
def test_second_search_that_fails_costs_the_first_result_nothing(
    world: World, messages: Messages, failing: Callable[[World, Messages], None]
) -> None:
    world.run(int8=SHORT)
    first = copy.deepcopy(world.status["targets"])
    failing(world, messages)
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert "s3://data is not reachable" in shown(world)["message"]
    assert_first_stays(world, first, "a second search failed: ")
    assert_at_rest(world)


@pytest.mark.parametrize("failing", [_prepare_fails, _measure_fails])
@pytest.mark.parametrize(
    "change",
    [
        {"execution": {"suspend": True}},
        {"execution": {"backoffLimit": 1}},
        {"objective": {"minimumSpeedup": 2}},
    ],
)
def test_failed_second_search_is_not_made_again_for_an_edit(
    world: World,
    messages: Messages,
    failing: Callable[[World, Messages], None],
    change: dict[str, Any],
) -> None:
    world.run(int8=SHORT)
    failing(world, messages)
    world.lose_all_jobs()
    world.edit(**change)
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert not world.jobs


def test_whatever_the_second_measurement_says_there_is_no_third(
    world: World, messages: Messages
) -> None:
    world.run(int8=SHORT)
    search_again(world, messages)
    measure_again(world, messages, int8={"aim_decibels": 7})
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert_at_rest(world)
    world.edit(objective={"minimumSpeedup": 2})
    world.settle()
    assert not world.jobs


@pytest.mark.parametrize("failing", [_prepare_fails, _measure_fails])
def test_run_that_stalls_after_a_failed_second_search_has_progress(
    world: World, messages: Messages, failing: Callable[[World, Messages], None]
) -> None:
    world.run(selected=None, int8=SHORT)
    failing(world, messages)
    assert world.said()["Stalled"] == ("True", "NoVariantPassed")
    assert world.status["progress"]["stage"] == "Measure"
    assert_at_rest(world)


def restarted(world: World) -> World:
    """Return the same cluster for an operator that has seen nothing of it before."""
    return copy.deepcopy(world)


def _lose(world: World, *, keep: str) -> None:
    """Delete the finished Jobs, as somebody may, but those of one name."""
    done = {
        name
        for name, job in world.jobs.items()
        if job.get("status", {}).get("conditions") and name != keep
    }
    for name in done:
        world.lose_pods(world.jobs.pop(name))


def test_restarted_at_each_step_it_comes_to_the_same(world: World, messages: Messages) -> None:
    world.run(int8=SHORT)
    names = [*world.jobs]
    # Status has the first result: its Jobs are not needed any more.
    world = restarted(world)
    _lose(world, keep="")
    world.settle()
    assert [*world.jobs] == names[2:]

    search_again(world, messages)
    measuring = world.the_job(Stage.MEASURE, "default")["metadata"]["name"]
    # The second measurement says what it starts from.
    world = restarted(world)
    _lose(world, keep="")
    world.settle()
    assert [*world.jobs] == [measuring]

    job = world.the_job(Stage.MEASURE, "default")
    world.complete(job, messages.measure(result="second", selected=INT8, int8=HOLDS))
    # It ends before it has recorded the result.
    world = restarted(world)
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"][0]["selected"] == INT8
    assert_at_rest(world)


def test_second_search_whose_result_was_lost_is_made_again(
    world: World, messages: Messages
) -> None:
    world.run(int8=SHORT)
    job = world.the_job(Stage.PREPARE, "default")
    world.complete(job, messages.prepare(result="second", aimed=[INT8]))
    world.lose_pods(job)
    world.sleep(60)
    world.settle()
    other = world.the_job(Stage.PREPARE, "default")
    assert other["metadata"]["name"] != job["metadata"]["name"]
    assert plan_of(other) == plan_of(job)


def test_suspended_meanwhile_it_goes_on_when_resumed(world: World, messages: Messages) -> None:
    world.run(int8=SHORT)
    first, name = world.status["targets"], world.the_job(Stage.PREPARE, "default")["metadata"]
    world.edit(execution={"suspend": True})
    world.settle()
    assert world.said() == {"Ready": ("True", "Suspended")}
    assert name["name"] not in world.jobs
    assert [v["name"] for v in world.status["targets"][0]["variants"]] == [
        v["name"] for v in first[0]["variants"]
    ]
    world.edit(execution={})
    world.settle()
    search_again(world, messages)
    measure_again(world, messages, selected=INT8, int8=HOLDS)
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_objective_that_it_cannot_reach_ends_it(world: World, messages: Messages) -> None:
    world.run(int8=SHORT)
    second = world.the_job(Stage.PREPARE, "default")["metadata"]["name"]
    world.edit(objective={"minimumSpeedup": 5.5})
    world.settle()
    assert second not in world.jobs
    assert world.said() == {"Ready": ("True", "BaselineKept")}
    assert_at_rest(world)


def test_objective_that_wants_it_begins_it_and_one_that_was_aimed_stays(
    world: World, messages: Messages
) -> None:
    world.edit(objective={"minimumSpeedup": 5.5})
    world.run(selected="baseline", int8=SHORT)
    assert world.said() == {"Ready": ("True", "BaselineKept")}
    world.lose_all_jobs()
    world.edit(objective={"minimumSpeedup": 2})
    world.settle()
    assert world.stages() == ["prepare"]
    search_again(world, messages)
    measure_again(world, messages, selected=INT8, int8=HOLDS)
    world.edit(objective={"minimumSpeedup": 3})
    world.settle()
    assert world.status["targets"][0]["selected"] == INT8
    assert_at_rest(world)


def test_other_model_meanwhile_begins_anew(world: World, messages: Messages) -> None:
    world.run(int8=SHORT)
    old = {*world.jobs}
    world.edit(model=world.raw["spec"]["model"] | {"sha256": "1" * 64})
    world.settle()
    assert old.isdisjoint(world.jobs)
    assert world.stages() == ["prepare"]
    assert "aims" not in plan_of(world.the_job(Stage.PREPARE))
    assert MODEL_SHA not in json.dumps(plan_of(world.the_job(Stage.PREPARE)))


def test_only_the_target_that_fell_short_is_measured_again(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "a"), messages.measure("a", int8=SHORT))
    world.settle()
    search_again(world, messages, "a")
    # b is measured as before, though all that is left of its preparation is gone.
    _lose(world, keep="")
    first = world.the_job(Stage.MEASURE, "b")
    assert plan_of(first)["prepared"] == digest("manifest")
    world.settle()
    assert world.the_job(Stage.MEASURE, "b") == first
    again = world.the_job(Stage.MEASURE, "a")
    world.complete(again, messages.measure("a", result="second", selected=INT8, int8=HOLDS))
    world.settle()
    assert world.status["summary"]["targets"] == "1/2"
    world.complete(first, messages.measure("b"))
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert [t["selected"] for t in world.status["targets"]] == [INT8, "openvino-bf16"]


def test_what_another_target_found_again_is_no_preparation(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "a"), messages.measure("a", int8=SHORT))
    world.settle()
    search_again(world, messages, "a")
    again = world.the_job(Stage.MEASURE, "a")
    for name in [*world.jobs]:
        if name != again["metadata"]["name"]:
            world.lose_pods(world.jobs.pop(name))
    world.settle()
    assert "aims" not in plan_of(world.the_job(Stage.PREPARE))
    assert again["metadata"]["name"] in world.jobs


def test_second_search_runs_on_the_kind_of_its_target_alone(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    first = plan_of(world.the_job(Stage.PREPARE))
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "a"), messages.measure("a", int8=SHORT))
    world.settle()
    second = plan_of(world.the_job(Stage.PREPARE, "a"))
    assert {**first, "aims": second["aims"]} == second
