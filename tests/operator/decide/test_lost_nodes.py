"""Pods whose node is lost, and those that only end in their grace period."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from job_messages import Messages
from operator_world import World

from mopt_api.jobs.plan import Stage
from mopt_operator.decide.track import LOST_SECONDS

TARGETS = {Stage.PREPARE: None, Stage.MEASURE: "default"}


def losing_its_node(world: World, stage: Stage) -> dict[str, Any]:
    """Let the node under a running Pod be lost, and the Pod be deleted with 30 s of grace."""
    pod = world.pod(world.the_job(stage, TARGETS[stage]), {"phase": "Running"})
    pod["spec"] = {"nodeName": "node-7"}
    pod["metadata"]["deletionTimestamp"] = (world.now + timedelta(seconds=30)).isoformat()
    return pod


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.MEASURE])
def test_pod_of_a_lost_node_is_named_and_its_work_begun_anew(
    world: World, messages: Messages, stage: Stage
) -> None:
    world.settle()
    if stage is Stage.MEASURE:
        world.complete(world.the_job(Stage.PREPARE), messages.prepare())
        world.settle()
    losing_its_node(world, stage)
    plan = world.settle()
    assert world.said()["Ready"][0] == "Unknown"
    assert plan.requeue_after == 30 + LOST_SECONDS
    world.sleep(plan.requeue_after)
    plan = world.settle()
    assert world.said()["Ready"] == ("False", "NodeLost")
    assert world.said()["Reconciling"][0] == "True"
    assert "node node-7 does not answer" in world.condition("Ready")["message"]
    old = {job["metadata"]["uid"] for job in world.jobs.values()}
    assert plan.requeue_after is not None
    world.sleep(plan.requeue_after)
    world.settle()
    new = world.the_job(stage, TARGETS[stage])
    assert new["metadata"]["uid"] not in old
    assert world.said()["Ready"][0] == "Unknown"
    if stage is Stage.PREPARE:
        world.complete(new, messages.prepare())
        world.settle()
    world.measure()
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_pod_that_ends_in_its_grace_period_is_not_lost(world: World, messages: Messages) -> None:
    world.settle()
    pod = losing_its_node(world, Stage.PREPARE)
    world.settle()
    world.sleep(29)
    ended = {"exitCode": 0, "reason": "", "message": messages.prepare()}
    states = [{"name": "optimizer", "state": {"terminated": ended}}]
    pod["status"] = {"phase": "Succeeded", "containerStatuses": states}
    world.end(world.the_job(Stage.PREPARE), "Complete")
    world.sleep(3600)
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")
