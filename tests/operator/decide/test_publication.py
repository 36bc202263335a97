"""What is selected is published once, and whether it is so is the condition Published alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from job_messages import Messages, digest
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.config.settings import (
    OnUpgrade,
    Publishing,
    Settings,
    SigningKey,
    UpgradePolicy,
)
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.events import publish_event
from mopt_operator.decide.publication import LONGEST_PAUSE_SECONDS, pause_seconds

REPOSITORY = "registry.test/team/sr"
OCI = {"repository": REPOSITORY, "tags": ["latest", "v1"]}
BF16 = digest("openvino-bf16")
HOUR = 3600.0


def publish(**fields: object) -> dict[str, Any]:
    return {"oci": OCI | fields}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Return a resource that asks for publishing."""
    return make_world(publish=publish())


def finish(world: World, **outcome: Any) -> None:
    """Let the Job that publishes succeed."""
    world.complete(world.the_job(Stage.PUBLISH), Messages.publish(**outcome))
    world.settle()


def fail(world: World, reason: Reason = Reason.REGISTRY_UNREACHABLE) -> None:
    """Let the Job that publishes fail."""
    code = REASONS[reason].exit_code or 1
    message = Messages.error(reason, f"it says {reason}")
    world.fail(world.the_job(Stage.PUBLISH), message, exit_code=code)
    world.settle()


def published(world: World, target: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = world.status["targets"][target]["published"]
    return found


def publishing(world: World) -> list[dict[str, Any]]:
    """Return the Jobs that publish."""
    jobs = world.jobs.values()
    return [job for job in jobs if job["metadata"]["labels"]["mopt.dev/stage"] == "publish"]


def test_what_is_selected_is_published_and_recorded(world: World) -> None:
    world.settle()
    assert world.published() == ("False", "NothingSelected")
    world.run()
    assert world.published() == ("False", "Publishing")
    assert world.said() == {"Ready": ("True", "Optimized")}
    world.sleep(5)
    finish(world)
    assert world.published() == ("True", "Published")
    record = published(world)
    assert len(record.pop("key")) == 16
    index = f"{REPOSITORY}@{digest('index')}"
    assert record == {
        "reference": f"{REPOSITORY}@{digest('image default')}",
        "index": index,
        "tags": ["latest", "v1"],
        "signed": False,
        "artifact": BF16,
        "time": "2026-11-01T12:00:05Z",
    }
    assert world.condition("Published")["message"] == f"{index} as latest, v1"
    assert world.stages() == ["prepare", "measure", "publish"]
    assert world.decide() == Plan()


def test_ready_and_kstatus_do_not_depend_on_it(world: World) -> None:
    """While it is published and while that fails, the resource is Current to kstatus."""
    world.run()
    ready = copy.deepcopy(world.condition("Ready"))
    steps: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: fail(world),
        lambda: world.sleep(HOUR),
    )
    for step in steps:
        step()
        world.settle()
        assert world.condition("Ready") == ready
        assert world.said() == {"Ready": ("True", "Optimized")}
        assert world.status["observedGeneration"] == world.raw["metadata"]["generation"]
        assert "progress" not in world.status


def test_history_names_where_each_selection_is(world: World) -> None:
    world.run()
    (record,) = world.status["history"]
    assert record["uri"] == f"s3://optimized/sr/blobs/sha256/{BF16[7:]}"
    assert "published" not in record
    finish(world)
    first = f"{REPOSITORY}@{digest('image default')}"
    assert world.status["history"][0] == record | {"published": first}
    world.edit(quality=[{"metric": "PSNR", "minimum": 100}])
    world.settle()
    newest, before = world.status["history"]
    assert (newest["selected"], newest.get("published")) == ("onnxruntime-fp32", None)
    assert before["published"] == first
    finish(world, image="second")
    newest, before = world.status["history"]
    assert newest["published"] == f"{REPOSITORY}@{digest('second default')}"
    assert before["published"] == first


def measure_again(world: World, _: Settings) -> None:
    world.request("again")
    world.run(result="second")


def edit_what_makes_no_other_image(world: World, _: Settings) -> None:
    world.edit(execution={"ttlSecondsAfterFinished": 7})


def upgrade(world: World, settings: Settings) -> None:
    rerun = OnUpgrade(policy=UpgradePolicy.RERUN)
    update = {"optimizer_image": "mopt/optimizer:newer", "on_upgrade": rerun}
    world.settings = settings.model_copy(update=update)
    world.run(build="0.2.0+ffffffffffff", result="second")


def suspend(world: World, _: Settings) -> None:
    world.edit(execution={"suspend": True})


def lose_jobs(world: World, _: Settings) -> None:
    world.lose_all_jobs()


SAME = [measure_again, edit_what_makes_no_other_image, upgrade, suspend, lose_jobs]


@pytest.mark.parametrize("again", SAME)
def test_same_winner_is_not_published_again(
    world: World, settings: Settings, again: Callable[[World, Settings], None]
) -> None:
    world.run()
    finish(world)
    before, since = published(world), world.condition("Published")["lastTransitionTime"]
    world.lose_all_jobs()
    world.sleep(60)
    again(world, settings)
    world.settle()
    assert "publish" not in world.stages()
    assert published(world) == before
    assert world.published() == ("True", "Published")
    assert world.condition("Published")["lastTransitionTime"] == since


def other_winner(world: World, _: Settings) -> None:
    world.edit(quality=[{"metric": "PSNR", "minimum": 100}])


def other_repository(world: World, _: Settings) -> None:
    world.edit(publish=publish(repository="registry.test/other"))


def other_layout(world: World, _: Settings) -> None:
    world.edit(publish=publish(layout="ModelPack"))


def other_tags(world: World, _: Settings) -> None:
    world.edit(publish=publish(tags=["v2"]))


def other_base(world: World, settings: Settings) -> None:
    base = Publishing(base_image=f"registry.test/base@{digest('base')}")
    world.settings = settings.model_copy(update={"publish": base})


def sign(world: World, settings: Settings) -> None:
    key = Publishing(signing=SigningKey(secret_name="key"))
    world.settings = settings.model_copy(update={"publish": key})


OTHER = [other_winner, other_repository, other_layout, other_tags, other_base, sign]


@pytest.mark.parametrize("change", OTHER)
def test_other_image_is_published_once_and_the_last_one_stays_until_then(
    world: World, settings: Settings, change: Callable[[World, Settings], None]
) -> None:
    world.run()
    finish(world)
    before = published(world)
    world.lose_all_jobs()
    change(world, settings)
    world.settle()
    assert world.published() == ("False", "Publishing")
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert published(world) == before
    finish(world, image="second")
    assert world.published() == ("True", "Published")
    assert published(world)["key"] != before["key"]
    assert world.stages() == ["publish"]


def fails_to_prepare(world: World, messages: Messages) -> None:
    world.request("again")
    world.settle()
    text = messages.error(Reason.INVALID_MODEL, "not a model")
    world.fail(world.the_job(Stage.PREPARE), text, exit_code=65)


def selects_nothing(world: World, _: Messages) -> None:
    world.edit(quality=[{"metric": "PSNR", "minimum": 150}], objective={"onNoWinner": "Fail"})


def is_refused(world: World, _: Messages) -> None:
    world.edit(targets=[{"name": "default", "profile": "none"}])


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (fails_to_prepare, ("True", "Published")),
        # What is published misses the gates, and nothing is to be served.
        (selects_nothing, ("False", "NothingSelected")),
    ],
)
def test_run_that_fails_leaves_what_is_published(
    world: World,
    messages: Messages,
    failing: Callable[[World, Messages], None],
    said: tuple[str, str],
) -> None:
    world.run()
    finish(world)
    before = published(world)
    failing(world, messages)
    world.settle()
    assert world.said()["Ready"][0] == "False"
    assert published(world) == before
    assert world.published() == said
    assert all(job.get("status") for job in world.jobs.values())


def test_refused_spec_keeps_what_was_published_and_says_so(
    world: World, messages: Messages
) -> None:
    world.run()
    finish(world)
    before = published(world)
    is_refused(world, messages)
    world.settle()
    assert world.published() == ("False", "InvalidSpec")
    assert published(world) == before
    world.edit(targets=[])
    world.settle()
    assert world.published() == ("True", "Published")
    assert world.jobs == {}


def test_what_an_earlier_run_selected_is_not_published_by_a_later_one_that_fails(
    world: World, messages: Messages
) -> None:
    world.run()
    fail(world)
    selects_nothing(world, messages)
    world.settle()
    world.sleep(HOUR)
    world.settle()
    assert world.published() == ("False", "NothingSelected")
    assert [job for job in publishing(world) if not job.get("status")] == []


def test_no_longer_asked_for_it_leaves_the_condition_and_keeps_the_record(world: World) -> None:
    world.run()
    finish(world)
    before = published(world)
    del world.raw["spec"]["publish"]
    world.edit()
    world.settle()
    assert "Published" not in {c["type"] for c in world.status["conditions"]}
    assert published(world) == before
    assert world.status["history"][0]["published"] == before["reference"]
    assert world.decide() == Plan()


def test_asked_for_later_it_publishes_what_is_selected_already(make_world: MakeWorld) -> None:
    world = make_world()
    world.run()
    assert "Published" not in {c["type"] for c in world.status["conditions"]}
    world.edit(publish=publish())
    world.settle()
    finish(world)
    assert world.published() == ("True", "Published")
    assert world.stages() == ["prepare", "measure", "publish"]


def test_resource_that_publishes_nothing_is_written_as_often_as_ever(
    make_world: MakeWorld,
) -> None:
    world, with_it = make_world(), make_world(publish=publish())
    for each in (world, with_it):
        each.run()
    finish(with_it)
    # Publishing, Published: that it is asked for costs no write of its own.
    assert world.status_writes == with_it.status_writes - 1


# Failures.

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


# Who decides.


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


# Targets.


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


def test_kept_baseline_is_published_from_where_the_model_is(world: World) -> None:
    world.run(selected="baseline")
    assert '"uri":"s3://models/sr.pt2"' in str(publishing(world)[0])
    finish(world)
    assert published(world)["artifact"] == f"sha256:{world.raw['spec']['model']['sha256']}"


def test_publishing_does_not_pass_for_a_rerun_that_has_begun(
    world: World, settings: Settings
) -> None:
    world.run()
    assert len(publishing(world)) == 1
    update = {
        "optimizer_image": "mopt/optimizer:newer",
        "on_upgrade": OnUpgrade(policy=UpgradePolicy.RERUN),
    }
    world.settings = settings.model_copy(update=update)
    world.may_rerun = False
    plan = world.decide()
    assert plan.rerun_waits
    assert {job["metadata"]["labels"]["mopt.dev/stage"] for job in plan.create} == {"publish"}


def test_status_that_cannot_all_be_read_keeps_what_was_published(world: World) -> None:
    world.run()
    finish(world)
    before = published(world)
    world.status["targets"][0]["variants"][0]["artifact"]["format"] = "CoreML"
    world.request("again")
    world.settle()
    assert published(world) == before


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
