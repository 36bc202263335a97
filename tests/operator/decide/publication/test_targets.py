"""Targets are published together."""

from __future__ import annotations

from job_messages import Messages, digest
from operator_world import MakeWorld
from publishing_life import REPOSITORY, publish, published, publishing

from mopt_api.jobs.plan import Stage
from mopt_operator.config.settings import Settings


def test_targets_are_published_together(make_world: MakeWorld) -> None:
    world = make_world(publish=publish(), targets=[{"name": "a"}, {"name": "b"}])
    world.run(("a",))
    assert world.published() == ("False", "NothingSelected")
    assert publishing(world) == []
    world.measure(("b",))
    world.complete(world.the_job(Stage.PUBLISH), Messages.publish("a", "b"))
    world.settle()
    references = [published(world, number)["reference"] for number in (0, 1)]
    assert references == [f"{REPOSITORY}@{digest(f'image {name}')}" for name in "ab"]
    assert published(world, 0)["index"] == published(world, 1)["index"]
    world.edit(targets=[{"name": "a"}])
    world.settle()
    assert world.published() == ("False", "Publishing")


ENGINES = {"default": {}, "engines": {"buildOnly": True, "computeCapabilities": ["8.9"]}}


def test_targets_that_only_build_are_left_out(make_world: MakeWorld) -> None:
    settings = Settings.model_validate({"optimizerImage": "i:1", "profiles": ENGINES})
    targets = [{"name": "cpu"}, {"name": "rtx", "profile": "engines"}]
    world = make_world(settings=settings, publish=publish(), targets=targets)
    world.run(("cpu",))
    built = Messages.built("rtx", psnr={"tensorrt-fp16": 50})
    world.complete(world.the_job(Stage.MEASURE, "rtx"), built)
    world.settle()
    world.complete(world.the_job(Stage.PUBLISH), Messages.publish("cpu"))
    world.settle()
    assert world.published() == ("True", "Published")
    assert "published" not in world.status["targets"][1]
    world.edit(targets=targets[1:])
    world.settle()
    assert world.said()["Ready"] == ("True", "Built")
    assert world.published() == ("False", "NothingSelected")
