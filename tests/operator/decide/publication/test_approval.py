"""Who decides that a form is published."""

from __future__ import annotations

from job_messages import Messages, digest
from operator_world import MakeWorld, World
from publishing_life import finish, other_winner, publish, published, publishing

from mopt_api.jobs.plan import Stage
from mopt_operator.decide.decide import Plan

BF16 = digest("openvino-bf16")


def test_manual_policy_waits_for_every_digest_and_says_how_to_give_it(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        publish=publish() | {"policy": "Manual"}, targets=[{"name": "a"}, {"name": "b"}]
    )
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), Messages.prepare())
    world.settle()
    fp32 = digest("onnxruntime-fp32")
    world.complete(world.the_job(Stage.MEASURE, "a"), Messages.measure("a"))
    world.complete(
        world.the_job(Stage.MEASURE, "b"), Messages.measure("b", selected="onnxruntime-fp32")
    )
    world.settle()
    assert world.published() == ("False", "AwaitingApproval")
    assert world.condition("Published")["message"].endswith(
        f"kubectl annotate --overwrite modeloptimizations sr -n team mopt.dev/approve={BF16},{fp32}"
    )
    for digests in ((BF16,), (fp32, BF16[:-1])):
        world.approve(*digests)
        assert world.settle().create == ()
    world.approve(f" {fp32}", BF16, digest("an older one"))
    world.settle()
    world.complete(world.the_job(Stage.PUBLISH), Messages.publish("a", "b"))
    world.settle()
    assert world.published() == ("True", "Published")
    world.approve()
    assert world.settle() == Plan()


def test_approval_of_the_last_one_does_not_hold_for_the_next(make_world: MakeWorld) -> None:
    world = make_world(publish=publish() | {"policy": "Manual"})
    world.run()
    world.approve(BF16)
    world.settle()
    finish(world)
    other_winner(world, world.settings)
    world.settle()
    assert world.published() == ("False", "AwaitingApproval")
    assert published(world)["artifact"] == BF16


def test_approval_that_is_withdrawn_ends_the_job(make_world: MakeWorld) -> None:
    world = make_world(publish=publish() | {"policy": "Manual"})
    world.run()
    world.approve(BF16)
    world.settle()
    assert len(publishing(world)) == 1
    world.approve()
    world.settle()
    assert publishing(world) == []
    assert world.published() == ("False", "AwaitingApproval")


def test_suspended_it_publishes_nothing(world: World) -> None:
    world.run()
    world.edit(execution={"suspend": True})
    world.settle()
    assert publishing(world) == []
    assert world.published() == ("False", "Suspended")
    assert world.said() == {"Ready": ("True", "Optimized")}
    world.edit(execution={"suspend": False})
    world.settle()
    finish(world)
    assert world.published() == ("True", "Published")
