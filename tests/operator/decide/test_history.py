"""History of selections, and results of an older optimizer."""

from __future__ import annotations

from typing import Any

from job_messages import digest, prepare_message
from operator_world import MakeWorld, World

from mopt_api.figures import DataDigests
from mopt_api.jobs.plan import Stage
from mopt_operator.config.settings import OnUpgrade, Profile, Settings
from mopt_operator.decide.decide import Plan


def gate(minimum: float) -> list[dict[str, Any]]:
    return [{"metric": "PSNR", "minimum": minimum}]


def test_selection_is_recorded_with_what_a_rollback_needs(world: World) -> None:
    world.run()
    (target,) = world.status["targets"]
    assert world.status["history"] == [
        {
            "target": "default",
            "selected": "openvino-bf16",
            "artifact": target["variants"][1]["artifact"]["digest"],
            "report": target["report"]["digest"],
            "generation": 1,
            "time": "2026-11-01T12:00:00Z",
        }
    ]


def test_last_three_selections_are_kept_newest_first(world: World) -> None:
    world.run()
    for minimum in (39, 60, 40, 150):
        world.sleep(60)
        world.edit(quality=gate(minimum))
        world.settle()
    assert [(r["selected"], r["generation"]) for r in world.status["history"]] == [
        ("baseline", 5),
        ("openvino-bf16", 4),
        ("onnxruntime-fp32", 3),
    ]
    assert (
        world.status["history"][0]["artifact"] == f"sha256:{world.raw['spec']['model']['sha256']}"
    )


def test_same_winner_measured_again_adds_nothing(world: World) -> None:
    world.run()
    history = world.status["history"]
    world.sleep(60)
    world.request("again")
    world.run(result="second")
    assert world.status["history"] == history


def test_no_winner_adds_nothing_and_failures_forget_nothing(world: World) -> None:
    world.run()
    history = world.status["history"]
    world.edit(quality=gate(150), objective={"onNoWinner": "Fail"})
    world.settle()
    assert world.said()["Stalled"] == ("True", "NoVariantPassed")
    assert world.status["history"] == history
    world.edit(targets=[{"name": "default", "profile": "unknown"}])
    world.settle()
    assert world.said()["Stalled"] == ("True", "InvalidSpec")
    assert world.status["history"] == history


def test_targets_have_each_their_own_history(make_world: MakeWorld) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.run(("a", "b"))
    assert [r["target"] for r in world.status["history"]] == ["b", "a"]


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
        "than mopt/optimizer-gpu:2: l4 by mopt/optimizer-gpu:1"
        in (world.condition("Outdated")["message"])
    )


def test_new_selection_from_older_figures_stays_marked(world: World, settings: Settings) -> None:
    world.run()
    world.settings = newer(settings)
    world.edit(quality=gate(39))
    world.settle()
    assert world.said()["Outdated"] == ("True", "OlderOptimizer")
    world.request("again")
    world.run()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"][0]["optimizer"] == "mopt/optimizer:newer"


def test_policy_rerun_measures_again_once(world: World, settings: Settings) -> None:
    world.run()
    world.settings = newer(settings, on_upgrade=OnUpgrade.RERUN)
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
    world.settings = newer(settings, on_upgrade=OnUpgrade.RERUN)
    world.settle()
    assert world.said() == {
        "Ready": ("True", "Optimized"),
        "Outdated": ("True", "OlderOptimizer"),
    }
