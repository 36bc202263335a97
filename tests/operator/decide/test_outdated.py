"""Results of another optimizer, or of other data, are marked."""

from __future__ import annotations

import pytest
from job_messages import digest, measure_message, prepare_message
from operator_world import MakeWorld, World

from mopt_api.figures import DataDigests
from mopt_api.jobs.plan import Stage
from mopt_operator.config.settings import OnUpgrade, Profile, Settings, UpgradePolicy
from mopt_operator.decide.decide import Plan

OLD, NEW = "0.1.0+000000000000", "0.1.0+ffffffffffff"
MARKED = {"Ready": ("True", "Optimized"), "Outdated": ("True", "OlderOptimizer")}
UNMARKED = {"Ready": ("True", "Optimized")}


def test_data_that_changed_between_targets_is_marked(make_world: MakeWorld) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    before = DataDigests(calibration=digest("c"), evaluation=digest("before"))
    world.measure(("a",), data=before)
    assert "Outdated" not in world.said()
    world.measure(("b",), data=before.model_copy(update={"evaluation": digest("after")}))
    assert world.status["targets"][1]["data"]["evaluation"] == digest("after")
    assert world.said()["Outdated"] == ("True", "DataChanged")
    assert "data.evaluation changed between" in world.condition("Outdated")["message"]
    world.request("again")
    world.run(("a", "b"), data=before)
    assert world.said() == {"Ready": ("True", "Optimized")}


def newer(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"optimizer_image": "mopt/optimizer:newer"} | changes)


def test_result_of_an_older_optimizer_is_marked_and_ready_stays(
    world: World, settings: Settings
) -> None:
    world.run()
    ready = world.condition("Ready")
    world.settings = newer(settings)
    world.sleep(60)
    world.settle()
    assert world.condition("Ready") == ready
    assert world.said() == {
        "Ready": ("True", "Optimized"),
        "Outdated": ("True", "OlderOptimizer"),
    }
    assert "default by mopt/optimizer:test" in world.condition("Outdated")["message"]
    assert world.decide() == Plan()
    # A downgrade, or the next run, takes the mark away.
    world.settings = settings
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_image_of_the_target_s_profile_is_what_counts(
    make_world: MakeWorld, settings: Settings
) -> None:
    gpu = Profile(image="mopt/optimizer-gpu:1")
    both = settings.model_copy(update={"profiles": settings.profiles | {"gpu": gpu}})
    world = make_world(settings=both, targets=[{"name": "l4", "profile": "gpu"}])
    world.run(("l4",))
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"][0]["optimizer"] == "mopt/optimizer-gpu:1"
    world.settings = newer(both)
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    later = gpu.model_copy(update={"image": "mopt/optimizer-gpu:2"})
    world.settings = both.model_copy(update={"profiles": both.profiles | {"gpu": later}})
    world.settle()
    assert world.said()["Outdated"] == ("True", "OlderOptimizer")
    assert (
        "than the present mopt/optimizer-gpu:2: l4 by mopt/optimizer-gpu:1"
        in (world.condition("Outdated")["message"])
    )


def test_new_selection_from_older_figures_stays_marked(world: World, settings: Settings) -> None:
    world.run()
    world.settings = newer(settings)
    world.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    world.settle()
    assert world.said()["Outdated"] == ("True", "OlderOptimizer")
    world.request("again")
    world.run()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"][0]["optimizer"] == "mopt/optimizer:newer"


def test_policy_rerun_measures_again_once(world: World, settings: Settings) -> None:
    world.run()
    world.settings = newer(settings, on_upgrade=OnUpgrade(policy=UpgradePolicy.RERUN))
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    world.run()
    assert world.said() == {"Ready": ("True", "Optimized")}
    world.lose_all_jobs()
    assert world.decide() == Plan()


def test_policy_rerun_leaves_suspended_resources_alone(
    make_world: MakeWorld, settings: Settings
) -> None:
    world = make_world()
    world.run()
    world.edit(execution={"suspend": True})
    world.settle()
    world.settings = newer(settings, on_upgrade=OnUpgrade(policy=UpgradePolicy.RERUN))
    world.settle()
    assert world.said() == {
        "Ready": ("True", "Optimized"),
        "Outdated": ("True", "OlderOptimizer"),
    }


def told(image: str, at: str = "2026-11-02T00:00:00Z", **versions: str) -> dict[str, object]:
    """Return the status of another resource, which was measured by an image."""
    return {"targets": [{"optimizer": image, "measuredAt": at, "software": versions}]}


def test_same_content_under_another_name_is_the_same_optimizer(
    world: World, settings: Settings
) -> None:
    world.run(build=OLD)
    world.settings = newer(settings, on_upgrade=OnUpgrade(policy=UpgradePolicy.RERUN))
    world.other_statuses = [told("mopt/optimizer:newer", mopt=OLD, openvino="2026.1")]
    world.settle()
    assert world.said() == UNMARKED
    assert world.stages() == ["prepare", "measure"]


@pytest.mark.parametrize(
    ("versions", "reason", "difference"),
    [
        ({"mopt": NEW, "openvino": "2026.2"}, "OlderOptimizer", f"with mopt {OLD}, now {NEW}"),
        ({"mopt": OLD, "openvino": "2026.2"}, "RuntimeChanged", "with openvino 2026.1, now 2026.2"),
    ],
)
def test_other_content_under_the_same_name_is_marked_and_not_made_again(
    world: World, settings: Settings, versions: dict[str, str], reason: str, difference: str
) -> None:
    world.run(build=OLD)
    world.settings = settings.model_copy(
        update={"on_upgrade": OnUpgrade(policy=UpgradePolicy.RERUN)}
    )
    world.other_statuses = [told("mopt/optimizer:test", **versions)]
    world.settle()
    assert world.said() == UNMARKED | {"Outdated": ("True", reason)}
    message = world.condition("Outdated")["message"]
    assert f"default by mopt/optimizer:test {difference}." in message
    world.request("again")
    world.run(build=versions["mopt"], at="2026-11-02T00:00:01Z")
    world.other_statuses = []
    world.settle()
    assert world.said() == UNMARKED


def test_older_result_of_the_same_name_says_nothing_of_the_present_image(world: World) -> None:
    world.run(build=NEW)
    world.other_statuses = [told("mopt/optimizer:test", "2026-10-01T00:00:00Z", mopt=OLD)]
    world.settle()
    assert world.said() == UNMARKED


def test_new_result_of_the_same_name_is_in_no_moment_an_older_one(world: World) -> None:
    """Its own status is what tells of the image, and that is only written with it."""
    world.other_statuses = [told("mopt/optimizer:test", "2026-10-01T00:00:00Z", mopt=OLD)]
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), measure_message(build=NEW))
    status = world.decide().status
    assert status is not None
    assert {c["type"] for c in status["conditions"]} >= {"Ready"}
    assert not any(c["type"] == "Outdated" for c in status["conditions"])


@pytest.mark.parametrize(
    "status",
    [
        told("mopt/optimizer:newer", openvino="2026.1"),
        {"targets": [{"optimizer": "mopt/optimizer:newer", "software": {"mopt": OLD}}]},
        {"targets": [{"measuredAt": "2026-11-02T00:00:00Z", "software": {"mopt": OLD}}]},
        {"targets": [{"optimizer": 1, "measuredAt": [], "software": {"mopt": {}}}, None, "x"]},
        {"targets": "x"},
        {},
    ],
)
def test_images_are_compared_by_name_where_nothing_else_is_known(
    world: World, settings: Settings, status: dict[str, object]
) -> None:
    world.run(build=OLD)
    world.settings = newer(settings)
    world.other_statuses = [status]
    world.settle()
    assert world.said() == MARKED
    assert "default by mopt/optimizer:test." in world.condition("Outdated")["message"]


def test_status_tells_when_it_was_measured(world: World) -> None:
    world.run(at="2026-11-02T03:04:05Z")
    (target,) = world.status["targets"]
    assert target["measuredAt"] == "2026-11-02T03:04:05Z"
