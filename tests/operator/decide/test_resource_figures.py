"""What the metrics show of a resource."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from operator_world import World

from mopt_operator.decide.resource_figures import State, resource_figures
from mopt_operator.objects import observe_resource
from mopt_operator.times import timestamp


def test_resource_that_nobody_has_looked_at_is_unknown_since_its_creation(world: World) -> None:
    world.raw["metadata"]["creationTimestamp"] = timestamp(world.now)
    figures = resource_figures(observe_resource(world.raw))
    since = world.now.timestamp()
    assert figures.created == since
    assert figures.states == (State("Ready", "Unknown", "", since),)
    assert figures.waiting_since is None
    assert figures.selected == ()


def test_conditions_tell_what_they_say_and_since_when(world: World) -> None:
    begun = world.now
    world.settle()
    world.sleep(60)
    world.run()
    ended = world.now.timestamp()
    figures = resource_figures(observe_resource(world.raw))
    assert State("Ready", "True", "Optimized", ended) in figures.states
    assert all(state.type != "Reconciling" for state in figures.states)
    assert ended == begun.timestamp() + 60


def test_types_of_other_controllers_are_left_out(world: World) -> None:
    world.run()
    others = {"type": "example.com/Seen", "status": "True", "reason": "Any", "message": ""}
    conditions = world.raw["status"]["conditions"]
    conditions.append(others | {"lastTransitionTime": timestamp(world.now)})
    assert len(resource_figures(observe_resource(world.raw)).states) == len(conditions) - 1


def test_run_without_progress_tells_since_when(world: World) -> None:
    since = world.now + timedelta(seconds=5)
    world.raw["status"] = {
        "progress": {
            "stage": "Prepare",
            "targetsDone": 0,
            "targetsTotal": 1,
            "waitingSince": timestamp(since),
        }
    }
    resource = observe_resource(world.raw)
    assert resource_figures(resource).waiting_since == since.timestamp()
    garbled = {**resource.status["progress"], "waitingSince": "yesterday"}
    damaged = replace(resource, status={"progress": garbled})
    assert resource_figures(damaged).waiting_since is None
