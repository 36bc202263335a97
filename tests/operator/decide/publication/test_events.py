"""Events tell of each publishing once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from job_messages import Messages
from operator_world import MakeWorld, World
from publishing_life import HOUR, fail, finish, is_refused, publish

from mopt_api.reasons import Reason
from mopt_operator.decide.events import publish_event


def told(world: World) -> list[tuple[str, str]]:
    """Let the world settle; return type and reason of all Events about publishing so far."""
    world.settle()
    found = []
    for before, after in pairwise(world.statuses):
        resource = replace(world.snapshot().resource, status=before)
        if said := publish_event(resource, after, world.now):
            assert said["message"]
            found.append((said["type"], said["reason"]))
    return found


PUBLISHED = ("Normal", "Published")


def test_what_is_published_is_told_by_one_event(world: World) -> None:
    world.run()
    assert told(world) == []
    finish(world)
    assert told(world) == [PUBLISHED]
    world.request("again")
    world.run(result="second")
    assert told(world) == [PUBLISHED]
    world.edit(quality=[{"metric": "PSNR", "minimum": 100}])
    world.settle()
    finish(world, image="second")
    assert told(world) == [PUBLISHED, PUBLISHED]


def test_a_registry_that_fails_is_told_once_for_each_reason(world: World) -> None:
    world.run()
    unreachable = [("Warning", "RegistryUnreachable")]
    for _ in range(2):
        fail(world)
        assert told(world) == unreachable
        world.sleep(HOUR)
        assert told(world) == unreachable
    fail(world, Reason.REGISTRY_ACCESS_DENIED)
    denied = [*unreachable, ("Warning", "RegistryAccessDenied")]
    assert told(world) == denied
    world.sleep(HOUR)
    world.settle()
    finish(world)
    assert told(world) == [*denied, PUBLISHED]


def test_each_form_that_waits_for_approval_is_told(make_world: MakeWorld) -> None:
    world = make_world(publish=publish() | {"policy": "Manual"})
    world.run()
    waiting = ("Normal", "AwaitingApproval")
    assert told(world) == [waiting]
    world.edit(quality=[{"metric": "PSNR", "minimum": 100}])
    assert told(world) == [waiting, waiting]


def test_a_refused_spec_is_told_by_ready_alone_and_its_mending_publishes_nothing(
    world: World, messages: Messages
) -> None:
    world.run()
    finish(world)
    is_refused(world, messages)
    assert told(world) == [PUBLISHED]
    assert world.published() == ("False", "InvalidSpec")
    world.edit(targets=[])
    assert told(world) == [PUBLISHED]
    assert world.published() == ("True", "Published")
