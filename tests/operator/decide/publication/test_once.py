"""What is selected is published once, and whether it is so is the condition Published alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from job_messages import Messages, digest
from operator_world import MakeWorld, World
from publishing_life import (
    HOUR,
    REPOSITORY,
    edit_what_makes_no_other_image,
    fail,
    finish,
    is_refused,
    other_repository,
    other_winner,
    publish,
    published,
    publishing,
)

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import Reason
from mopt_operator.config.settings import (
    OnUpgrade,
    Publishing,
    Settings,
    SigningKey,
    UpgradePolicy,
)
from mopt_operator.decide.decide import Plan

BF16 = digest("openvino-bf16")


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
        "variant": "openvino-bf16",
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


def test_kept_baseline_is_published_from_where_the_model_is(make_world: MakeWorld) -> None:
    world = make_world(publish=publish(layout="Files"))
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
