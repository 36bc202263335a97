"""spec.execution: suspend and resume, queues, time to live."""

from __future__ import annotations

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_operator.decide.decide import Plan
from mopt_operator.objects import Held

# kstatus: Failed. Whoever waits for it is told at once, and not when it runs out of patience.
NOTHING_TO_SERVE = {"Ready": ("False", "Suspended"), "Stalled": ("True", "Suspended")}


def test_suspended_resource_gets_no_job_and_is_at_rest(make_world: MakeWorld) -> None:
    world = make_world(execution={"suspend": True})
    assert world.settle() == Plan()
    assert world.jobs == {}
    assert world.said() == NOTHING_TO_SERVE
    assert "progress" not in world.status
    assert "spec.execution.suspend" in world.condition("Ready")["message"]


def test_suspending_ends_the_job_at_work_and_keeps_what_is_done(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "a"), messages.measure("a"))
    world.settle()
    world.edit(execution={"suspend": True})
    world.settle()
    assert sorted(world.stages()) == ["measure", "prepare"]
    assert world.said() == NOTHING_TO_SERVE
    assert [t["name"] for t in world.status["targets"]] == ["a"]
    world.edit(execution={})
    world.settle()
    world.measure(("b",))
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert sorted(world.stages()) == ["measure", "measure", "prepare"]


def test_suspending_what_is_ready_changes_nothing_but_the_generation(world: World) -> None:
    world.run()
    before = world.status
    world.lose_all_jobs()
    world.sleep(60)
    world.edit(execution={"suspend": True})
    world.settle()
    assert world.status["targets"] == before["targets"]
    assert world.status["history"] == before["history"]
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert (
        world.condition("Ready")["lastTransitionTime"]
        == before["conditions"][0]["lastTransitionTime"]
    )
    world.edit(execution={})
    world.settle()
    assert world.jobs == {}


@pytest.mark.parametrize("change", ["edit", "request"])
def test_suspended_with_something_to_serve_is_ready(
    world: World, messages: Messages, change: str
) -> None:
    """kstatus: Current. Of an earlier run's result, where the present one may not be made."""
    world.run()
    served = world.status["targets"][0]["artifact"]
    world.lose_all_jobs()
    if change == "edit":
        world.edit(execution={"suspend": True}, benchmark={"warmupSeconds": 1})
    else:
        world.request("again")
        world.edit(execution={"suspend": True})
    assert world.settle() == Plan()
    assert world.said() == {"Ready": ("True", "Suspended")}
    assert world.status["observedGeneration"] == 2
    assert "0 of 1 targets have a result" in world.condition("Ready")["message"]
    assert world.status["targets"][0]["artifact"] == served
    assert world.status["targets"][0]["fromEarlierRun"] is True
    assert world.jobs == {}
    world.edit(execution={})
    world.settle()
    assert world.said() == {
        "Ready": ("Unknown", "Preparing"),
        "Reconciling": ("True", "Preparing"),
    }
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.measure()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert "fromEarlierRun" not in world.status["targets"][0]


def test_result_that_is_seen_late_is_recorded_while_suspended(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "default")
    world.complete(job, messages.measure())
    late, world.pods = world.pods, {}
    world.edit(execution={"suspend": True})
    plan = world.settle()
    assert plan.expire == ()
    assert world.said() == NOTHING_TO_SERVE
    world.pods = late
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_result_of_a_job_that_completed_before_suspending_is_recorded(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), messages.measure())
    world.edit(execution={"suspend": True})
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_queue_name_is_a_label_of_the_job_and_not_of_its_pods(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(
        execution={"queueName": "cpu"}, targets=[{"name": "a"}, {"name": "b", "queueName": "gpu"}]
    )
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    label = "kueue.x-k8s.io/queue-name"
    queues = {}
    for job in world.jobs.values():
        labels = job["metadata"]["labels"]
        queues[labels.get("mopt.dev/target")] = labels[label]
        assert label not in job["spec"]["template"]["metadata"]["labels"]
        assert "suspend" not in job["spec"]
    assert queues == {None: "cpu", "a": "cpu", "b": "gpu"}


def test_priority_of_a_profile_in_its_queue_is_a_label_of_the_job_and_not_of_its_pods(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a", "queueName": "cpu"}, {"name": "b"}])
    urgent = world.settings.profiles["default"].model_copy(
        update={"queue_priority_class_name": "urgent"}
    )
    world.settings = world.settings.model_copy(update={"profiles": {"default": urgent}})
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    label, priorities = "kueue.x-k8s.io/priority-class", {}
    for job in world.jobs.values():
        labels = job["metadata"]["labels"]
        priorities[labels.get("mopt.dev/target")] = labels.get(label)
        assert label not in job["spec"]["template"]["metadata"]["labels"]
    # Without a queue there is nothing to come first in.
    assert priorities == {None: None, "a": "urgent", "b": None}


def test_queued_is_said_while_the_queue_holds_the_job(make_world: MakeWorld) -> None:
    world = make_world(execution={"queueName": "cpu"})
    world.settle()
    job = world.the_job(Stage.PREPARE)
    job["spec"]["suspend"] = True
    plan = world.settle()
    assert world.said() == {"Ready": ("Unknown", "Queued"), "Reconciling": ("True", "Preparing")}
    assert job["metadata"]["name"] in world.condition("Ready")["message"]
    # The watch tells when it is admitted; why it is not must be asked for.
    assert plan.requeue_after == 3.0
    world.held = {job["metadata"]["uid"]: Held("LocalQueue cpu doesn't exist")}
    world.sleep(3600)
    assert world.settle().requeue_after == 300.0
    assert world.condition("Ready")["message"].endswith(". LocalQueue cpu doesn't exist")
    job["spec"]["suspend"] = False
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")


def test_other_queue_replaces_the_job(make_world: MakeWorld) -> None:
    world = make_world(execution={"queueName": "cpu"})
    world.settle()
    old = set(world.jobs)
    world.edit(execution={"queueName": "night"})
    world.settle()
    assert set(world.jobs).isdisjoint(old)


def test_own_time_to_live_wins_over_the_administrator_s(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(execution={"ttlSecondsAfterFinished": 0})
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), messages.measure())
    world.carry_out(world.decide())
    plan = world.decide()
    assert (len(plan.expire), plan.ttl_seconds) == (2, 0)
    other = make_world()
    other.run()
    assert other.decide().ttl_seconds == 0
    for job in other.jobs.values():
        del job["spec"]["ttlSecondsAfterFinished"]
    assert other.decide().ttl_seconds == other.settings.ttl_seconds_after_finished
