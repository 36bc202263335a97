"""A run that waits without progress becomes Stalled, and goes on once the obstacle is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_messages import Messages, prepare_message
from operator_world import MakeWorld, World, manifest
from pod_states import unschedulable, waiting

from mopt_api.jobs.plan import Stage
from mopt_api.spec import Execution
from mopt_api.text import one_line
from mopt_operator.config.settings import Settings
from mopt_operator.decide.events import step_event
from mopt_operator.decide.track import SLOW_SECONDS
from mopt_operator.objects import Held

DEADLINE = 600
SETTINGS = Settings(optimizer_image="mopt/optimizer:1")
RUNNING: dict[str, Any] = {"phase": "Running"}
CREATING: dict[str, Any] = {
    "phase": "Pending",
    "containerStatuses": [
        {"name": "optimizer", "state": {"waiting": {"reason": "ContainerCreating"}}}
    ],
}


def a_pod(status: dict[str, Any]) -> Callable[[World], None]:
    def add(world: World) -> None:
        world.pod(world.the_job(Stage.PREPARE), status)

    return add


def no_quota_for_pods(world: World) -> None:
    job = world.the_job(Stage.PREPARE)
    world.warnings[job["metadata"]["uid"]] = "pods is forbidden: exceeded quota"


def no_quota_for_jobs(world: World) -> None:
    name = world.the_job(Stage.PREPARE)["metadata"]["name"]
    world.lose_all_jobs()
    world.refusals[name] = (403, "jobs.batch is forbidden: exceeded quota")


def no_such_queue(world: World) -> None:
    job = world.the_job(Stage.PREPARE)
    job["spec"]["suspend"] = True
    world.held[job["metadata"]["uid"]] = Held("LocalQueue cpu doesn't exist", out_of_order=True)


OBSTACLES: dict[str, tuple[Callable[[World], None], str, str]] = {
    "no node": (a_pod(unschedulable("0/3 nodes")), "Unschedulable", "0/3 nodes"),
    "no GPU": (
        a_pod(unschedulable("0/3 nodes: 3 Insufficient nvidia.com/gpu.")),
        "AcceleratorNotFound",
        "Insufficient nvidia.com/gpu",
    ),
    "no image": (
        a_pod(waiting("ImagePullBackOff", "manifest unknown")),
        "ImagePullFailed",
        "cannot be pulled",
    ),
    "no Secret": (
        a_pod(waiting("CreateContainerConfigError", 'secret "store" not found')),
        "SecretNotFound",
        'secret "store" not found',
    ),
    "quota of Pods": (no_quota_for_pods, "PodForbidden", "exceeded quota"),
    "quota of Jobs": (no_quota_for_jobs, "PodForbidden", "exceeded quota"),
    "a volume or a large image": (a_pod(CREATING), "Pending", "has not started"),
    "no such queue": (no_such_queue, "Queued", "LocalQueue cpu doesn't exist"),
    "no Pod": (lambda _: None, "Pending", "has no Pod"),
}


def until_it_is_seen(world: World) -> None:
    """Let it be seen that the run waits, which of what merely starts is not seen at once."""
    world.settle()
    if "waitingSince" not in world.status["progress"]:
        world.sleep(SLOW_SECONDS)
        world.settle()


@pytest.mark.parametrize(("obstruct", "reason", "words"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_it_waits_for_is_named_once_it_has_waited_too_long(
    world: World, obstruct: Callable[[World], None], reason: str, words: str
) -> None:
    world.settle()
    obstruct(world)
    until_it_is_seen(world)
    assert "Stalled" not in world.said()
    left = world.decide().requeue_after
    assert left is not None
    assert left <= DEADLINE
    world.sleep(DEADLINE - 1)
    world.settle()
    assert "Stalled" not in world.said()
    world.sleep(1)
    world.settle()
    assert world.said() == {"Ready": ("False", reason), "Stalled": ("True", reason)}
    message = world.condition("Stalled")["message"]
    assert words in message
    assert "600 s (spec.execution.progressDeadlineSeconds)" in message
    assert len(world.jobs) == (0 if world.refusals else 1)


@pytest.mark.parametrize(("obstruct", "reason", "words"), OBSTACLES.values(), ids=OBSTACLES)
def test_it_goes_on_once_the_obstacle_is_gone(
    world: World, obstruct: Callable[[World], None], reason: str, words: str
) -> None:
    del reason, words
    world.settle()
    obstruct(world)
    until_it_is_seen(world)
    world.sleep(DEADLINE)
    world.settle()
    assert "Stalled" in world.said()
    world.sleep(3600)
    world.refusals.clear()
    world.warnings.clear()
    world.held.clear()
    for job in world.jobs.values():
        job["spec"].pop("suspend", None)
    world.settle()
    for pod in world.pods.values():
        pod["status"] = RUNNING
    if not world.pods:
        world.pod(world.the_job(Stage.PREPARE), RUNNING)
    world.settle()
    assert world.said() == {
        "Ready": ("Unknown", "Preparing"),
        "Reconciling": ("True", "Preparing"),
    }
    assert "waitingSince" not in world.status["progress"]
    world.lose_pods(world.the_job(Stage.PREPARE))
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.measure()
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_its_own_deadline_and_an_edit_start_the_clock_again(make_world: MakeWorld) -> None:
    world = make_world(execution={"progressDeadlineSeconds": 30})
    world.settle()
    world.pod(world.the_job(Stage.PREPARE), unschedulable("0/3 nodes"))
    world.settle()
    world.sleep(30)
    world.settle()
    assert world.said()["Stalled"] == ("True", "Unschedulable")
    world.edit(execution={"progressDeadlineSeconds": 60})
    world.settle()
    assert "Stalled" not in world.said()
    world.sleep(59)
    world.settle()
    assert "Stalled" not in world.said()
    world.sleep(1)
    world.settle()
    assert world.said()["Stalled"] == ("True", "Unschedulable")


@pytest.mark.parametrize("turn", ["Queued", "WaitingForSlot"])
def test_wait_for_its_turn_does_not_count(world: World, messages: Messages, turn: str) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    if turn == "Queued":
        world.settle()
        job = world.the_job(Stage.MEASURE, "default")
        job["spec"]["suspend"] = True
        world.held[job["metadata"]["uid"]] = Held("couldn't assign flavors: insufficient quota")
    else:
        (made,) = world.decide().create
        world.waits = {made["metadata"]["name"]: "Waiting for a slot"}
    for _ in range(3):
        world.settle()
        world.sleep(DEADLINE)
    world.settle()
    assert world.said() == {"Ready": ("Unknown", turn), "Reconciling": ("True", "Measuring")}
    assert "waitingSince" not in world.status["progress"]


def test_a_run_waits_only_while_none_of_its_targets_proceeds(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.pod(world.the_job(Stage.MEASURE, "a"), unschedulable("0/3 nodes"))
    at_work = world.pod(world.the_job(Stage.MEASURE, "b"), RUNNING)
    world.settle()
    world.sleep(3 * DEADLINE)
    world.settle()
    assert world.said() == {
        "Ready": ("False", "Unschedulable"),
        "Reconciling": ("True", "Measuring"),
    }
    del world.pods[at_work["metadata"]["name"]]
    world.complete(world.the_job(Stage.MEASURE, "b"), messages.measure("b"))
    world.settle()
    world.sleep(DEADLINE)
    world.settle()
    assert world.said()["Stalled"] == ("True", "Unschedulable")
    assert [target["name"] for target in world.results] == ["b"]


def test_quick_start_writes_no_status(world: World) -> None:
    world.settle()
    writes = world.status_writes
    pod = world.pod(world.the_job(Stage.PREPARE), CREATING)
    world.settle()
    world.sleep(SLOW_SECONDS - 1)
    world.settle()
    pod["status"] = RUNNING
    world.settle()
    assert world.status_writes == writes


def test_pod_that_waited_for_its_node_has_time_to_start(world: World) -> None:
    world.settle()
    pod = world.pod(world.the_job(Stage.PREPARE), unschedulable("0/3 nodes"))
    world.settle()
    world.sleep(DEADLINE - 1)
    scheduled = {"type": "PodScheduled", "status": "True"}
    since = {"lastTransitionTime": world.now.isoformat()}
    pod["status"] = CREATING | {"conditions": [scheduled | since]}
    world.settle()
    assert "waitingSince" not in world.status["progress"]
    world.sleep(DEADLINE)
    world.settle()
    assert "Stalled" not in world.said()


@pytest.mark.parametrize("text", ["yesterday", "2026-11-01", "2026-11-01T12:00:00", ""])
def test_time_that_is_none_begins_anew(world: World, text: str) -> None:
    world.settle()
    world.pod(world.the_job(Stage.PREPARE), unschedulable("0/3 nodes"))
    world.settle()
    world.status["progress"]["waitingSince"] = text
    world.settle()
    assert world.status["progress"]["waitingSince"] == "2026-11-01T12:00:00Z"


STATES = {"blocked": unschedulable("0/3 nodes"), "running": RUNNING}


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["blocked", "running"]), st.integers(1, 900)), max_size=8
    ),
    deadline=st.integers(10, 900),
)
def test_it_is_stalled_exactly_while_it_has_waited_longer_than_the_deadline(
    steps: list[tuple[str, int]], deadline: int
) -> None:
    world = World(SETTINGS, manifest(execution={"progressDeadlineSeconds": deadline}))
    world.settle()
    pod = world.pod(world.the_job(Stage.PREPARE), RUNNING)
    world.settle()
    since = None
    for state, seconds in steps:
        pod["status"] = STATES[state]
        world.settle()
        since = None if state == "running" else since or world.now
        # Whoever is asked to come again at a time and does so sees it then.
        end = world.now + timedelta(seconds=seconds)
        while (again := world.decide().requeue_after) is not None:
            if world.now + timedelta(seconds=again) > end:
                break
            world.sleep(max(again, 0.001))
            world.settle()
        world.now = end
        late = since is not None and (end - since).total_seconds() >= deadline
        assert ("Stalled" in world.said()) == late
        assert world.said()["Ready"][0] == ("False" if state == "blocked" else "Unknown")


@settings(deadline=None, max_examples=40)
@given(ahead=st.integers(-3600, 3600), deadline=st.integers(10, 900))
def test_another_replicas_clock_makes_no_wait_longer_than_the_deadline(
    ahead: int, deadline: int
) -> None:
    world = World(SETTINGS, manifest(execution={"progressDeadlineSeconds": deadline}))
    world.settle()
    world.pod(world.the_job(Stage.PREPARE), unschedulable("0/3 nodes"))
    world.settle()
    world.sleep(-ahead)  # It leads no more.
    world.settle()
    world.sleep(deadline)
    world.settle()
    assert world.said()["Stalled"] == ("True", "Unschedulable")
    assert one_line(world.condition("Stalled")["message"], 2048)


def test_older_operators_do_not_meet_a_field_that_nobody_has_set() -> None:
    execution = Execution.model_json_schema(by_alias=True)["properties"]
    assert execution["progressDeadlineSeconds"].get("default") is None
    assert Execution().longest_wait_seconds == DEADLINE


def test_one_event_says_that_it_waits_and_another_that_it_waited_too_long(world: World) -> None:
    world.settle()
    pod = world.pod(world.the_job(Stage.PREPARE), unschedulable("0/3 nodes"))
    said = []

    def look() -> None:
        resource, plan = world.snapshot().resource, world.decide()
        if plan.status is not None and (step := step_event(resource, plan.status, world.now)):
            said.append((step["type"], step["reason"], "has proceeded" in step["message"]))
        world.carry_out(plan)

    for seconds in (0, DEADLINE / 2, DEADLINE / 2, DEADLINE):
        world.sleep(seconds)
        look()
    pod["status"] = RUNNING
    look()
    assert said == [
        ("Warning", "Unschedulable", False),
        ("Warning", "Unschedulable", True),
        ("Normal", "Preparing", False),
    ]
