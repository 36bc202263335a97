"""Jobs that wait: for a slot, for a node of their own, for the API server."""

from __future__ import annotations

from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage


def test_measurement_without_a_slot_waits_without_a_job(world: World, messages: Messages) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    (made,) = world.decide().create
    words = "Waiting for a slot: profile default runs 1 measurement at once"
    world.waits = {made["metadata"]["name"]: words}
    assert world.settle().requeue_after is None
    assert world.stages() == ["prepare"]
    assert world.said() == {
        "Ready": ("Unknown", "WaitingForSlot"),
        "Reconciling": ("True", "Measuring"),
    }
    assert world.condition("Ready")["message"] == words
    world.waits = {}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")


def test_target_that_waits_for_a_slot_is_told_beside_one_that_measures(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    _, second = (made["metadata"]["name"] for made in world.decide().create)
    world.waits = {second: "Waiting for a slot"}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")
    message = world.condition("Ready")["message"]
    assert message.startswith("0 of 2 targets measured")
    assert message.endswith(". Waiting for a slot")


def test_job_that_shares_its_node_with_a_measurement_is_made_again(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "default")["metadata"]
    world.crowded = {job["uid"]: "node-1"}
    plan = world.decide()
    assert [gone.name for gone in plan.delete] == [job["name"]]
    assert plan.create == ()
    world.carry_out(plan)
    assert world.said()["Ready"] == ("Unknown", "WaitingForSlot")
    assert "node-1" in world.condition("Ready")["message"]
    world.crowded = {}
    world.settle()
    assert world.the_job(Stage.MEASURE, "default")["metadata"]["name"] == job["name"]


def test_busy_api_server_is_waited_for(world: World) -> None:
    name = world.decide().create[0]["metadata"]["name"]
    world.refusals = {name: (429, "too many requests, please try again later")}
    plan = world.decide()
    assert plan.create == ()
    world.carry_out(plan)
    assert world.said() == {
        "Ready": ("Unknown", "WaitingForSlot"),
        "Reconciling": ("True", "Preparing"),
    }
    assert "please try again later" in world.condition("Ready")["message"]
