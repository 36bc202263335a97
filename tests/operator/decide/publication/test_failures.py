"""A registry that fails costs the condition Published, and is tried again."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World
from publishing_life import (
    HOUR,
    edit_what_makes_no_other_image,
    fail,
    finish,
    other_repository,
    publish,
    publishing,
)

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.publication import LONGEST_PAUSE_SECONDS, pause_seconds

OF_THE_REGISTRY = [
    Reason.REGISTRY_UNREACHABLE,
    Reason.REGISTRY_ACCESS_DENIED,
    Reason.REGISTRY_REFUSED,
    Reason.STORE_UNREACHABLE,
    Reason.INTERNAL_ERROR,
]


@pytest.mark.parametrize("reason", OF_THE_REGISTRY)
def test_failure_has_its_reason_and_remedy_and_passes_without_a_measurement(
    world: World, reason: Reason
) -> None:
    world.run()
    before = copy.deepcopy(world.status)
    fail(world, reason)
    assert world.published() == ("False", reason)
    message = world.condition("Published")["message"]
    assert message == f"it says {reason}. {REASONS[reason].remedy}"
    assert world.condition("Ready") == before["conditions"][0]
    assert world.status["targets"] == before["targets"]
    world.sleep(pause_seconds(0))
    world.settle()
    finish(world)
    assert world.published() == ("True", "Published")
    assert world.stages().count("measure") == 1


def test_attempts_go_on_without_end_after_pauses_that_grow(world: World) -> None:
    world.run()
    pauses = []
    for _ in range(12):
        fail(world)
        assert len(publishing(world)) == 1
        pause = world.decide().requeue_after
        assert pause is not None
        pauses.append(pause)
        world.sleep(pause - 1)
        assert world.settle().create == ()
        assert [job for job in publishing(world) if not job.get("status")] == []
        world.sleep(1)
        world.settle()
        # The failed one stays beside the next, for its reason.
        assert len(publishing(world)) == 2
        assert world.published() == ("False", "RegistryUnreachable")
    assert pauses[:7] == [15, 30, 60, 120, 240, 480, 600]
    assert {*pauses[6:]} == {LONGEST_PAUSE_SECONDS}
    finish(world)
    assert world.published() == ("True", "Published")


def test_attempts_that_fail_alike_write_no_status(world: World) -> None:
    world.run()
    fail(world)
    writes = world.status_writes
    for _ in range(5):
        world.sleep(LONGEST_PAUSE_SECONDS)
        world.settle()
        fail(world)
    assert world.status_writes == writes


@pytest.mark.parametrize("change", [edit_what_makes_no_other_image, other_repository])
def test_change_of_spec_tries_again_at_once(
    world: World, settings: Settings, change: Callable[[World, Settings], None]
) -> None:
    world.run()
    for _ in range(6):
        fail(world)
        world.sleep(LONGEST_PAUSE_SECONDS)
        world.settle()
    fail(world)
    change(world, settings)
    world.settle()
    assert world.published() == ("False", "Publishing")
    finish(world)
    assert world.published() == ("True", "Published")


def test_request_to_run_again_tries_again_when_it_has_run(world: World) -> None:
    world.run()
    fail(world)
    world.request("again")
    world.run(result="second")
    assert world.published() == ("False", "Publishing")
    finish(world)
    assert world.published() == ("True", "Published")


@pytest.mark.parametrize("reason", [Reason.INVALID_SIGNING_KEY, Reason.STORE_ACCESS_DENIED])
def test_what_fails_for_good_waits_until_its_job_is_deleted(world: World, reason: Reason) -> None:
    world.run()
    fail(world, reason)
    (job,) = publishing(world)
    name = job["metadata"]["name"]
    assert world.published() == ("False", reason)
    assert world.condition("Published")["message"].endswith(f"once solved, delete Job {name}.")
    world.sleep(100 * HOUR)
    assert world.settle() == Plan()
    del world.jobs[name]
    world.settle()
    finish(world)
    assert world.published() == ("True", "Published")


def log_text(world: World) -> None:
    world.fail(world.the_job(Stage.PUBLISH), "Killed", exit_code=1)


def no_pod_is_left(world: World) -> None:
    job = world.the_job(Stage.PUBLISH)
    world.complete(job, Messages.publish())
    world.lose_pods(job)
    world.sleep(20)


def is_about_other_targets(world: World) -> None:
    world.complete(world.the_job(Stage.PUBLISH), Messages.publish("other"))


@pytest.mark.parametrize("accident", [log_text, no_pod_is_left, is_about_other_targets])
def test_accident_is_tried_again(world: World, accident: Callable[[World], None]) -> None:
    world.run()
    accident(world)
    world.settle()
    assert world.published() == ("False", "JobFailed")
    world.sleep(pause_seconds(0))
    world.settle()
    finish(world)
    assert world.published() == ("True", "Published")


def test_quota_refuses_the_job(world: World) -> None:
    world.run()
    name = world.the_job(Stage.PUBLISH)["metadata"]["name"]
    world.lose_all_jobs()
    world.refusals = {name: (403, "exceeded quota: jobs")}
    world.settle()
    assert world.published() == ("False", "PodForbidden")
    world.refusals = {}
    world.settle()
    finish(world)
    assert world.published() == ("True", "Published")


def test_waiting_for_a_slot_says_so(world: World) -> None:
    world.run()
    name = world.the_job(Stage.PUBLISH)["metadata"]["name"]
    world.lose_all_jobs()
    world.waits = {name: "Waiting for a slot: next"}
    world.settle()
    assert world.published() == ("False", "Publishing")
    assert world.condition("Published")["message"].endswith("Waiting for a slot: next")


def test_pod_that_does_not_start_names_the_secrets_that_it_mounts(make_world: MakeWorld) -> None:
    world = make_world(publish=publish(credentialsSecretRef={"name": "push"}))
    world.run()
    state = {"waiting": {"reason": "ContainerCreating"}}
    starting = {"containerStatuses": [{"name": "optimizer", "state": state}]}
    world.pod(world.the_job(Stage.PUBLISH), {"phase": "Pending"} | starting)
    world.sleep(90)
    world.settle()
    assert world.published() == ("False", "Publishing")
    message = world.condition("Published")["message"]
    assert "(ContainerCreating): see its Events" in message
    assert message.endswith("It mounts the Secrets push (key .dockerconfigjson)")
