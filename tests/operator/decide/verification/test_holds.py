"""What holds keeps its figures, and its artifact."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from job_messages import digest
from operator_world import MakeWorld, World
from verified_life import (
    AT,
    BEST,
    BUILD,
    CPU,
    DATA,
    NEW,
    READY,
    SECOND,
    found,
    plan_of,
    slower,
    the_target,
    upgraded,
    with_settings,
)

from mopt_api.jobs.plan import Stage
from mopt_api.spec import Resources
from mopt_operator.config.settings import DEFAULT_PROFILE
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.verify import SHARE


def test_upgrade_verifies_the_best_forms_without_preparing(measured: World) -> None:
    before = the_target(measured)
    job = upgraded(measured)
    plan = plan_of(job)
    assert plan.forms == [BEST, SECOND]
    assert plan.result == before["report"]["digest"]
    assert measured.stages() == ["verify"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == NEW
    assert measured.said() == {
        "Ready": ("Unknown", "Verifying"),
        "Reconciling": ("True", "Verifying"),
    }
    assert measured.status["progress"]["stage"] == "Verify"
    meanwhile = the_target(measured)
    assert meanwhile["artifact"] == before["artifact"]
    assert meanwhile["verification"] == {
        "state": "Running",
        "reason": "OlderOptimizer",
        "software": {},
    }


def test_result_that_holds_keeps_figures_and_artifact_and_is_not_outdated(measured: World) -> None:
    before = the_target(measured)
    job = upgraded(measured)
    measured.complete(job, found(job, slower(BEST, 1 + SHARE / 2)))
    measured.settle()
    assert measured.said() == READY
    after = the_target(measured)
    verification = after.pop("verification")
    assert after == before
    assert verification == {
        "state": "Held",
        "reason": "OlderOptimizer",
        "message": "openvino-bf16 holds its gates and is the best, within 10%",
        "optimizer": NEW,
        "software": {"mopt": BUILD, "openvino": "2026.1"},
        "hardware": before["hardware"],
        "limits": before["measurement"]["limits"],
        "measuredAt": AT,
        "result": digest("verification"),
    }
    measured.lose_all_jobs()
    assert measured.decide() == Plan()


def test_what_was_verified_tells_of_its_image_and_node(measured: World) -> None:
    job = upgraded(measured)
    measured.complete(job, found(job))
    measured.settle()
    told = measured.learned().told
    assert told.versions[NEW].value["mopt"] == BUILD
    assert told.cpus["node-1"].time == AT
    # The same tag again, with other content: marked, and not verified by itself.
    measured.other_statuses = [
        {
            "targets": [
                {
                    "optimizer": NEW,
                    "measuredAt": "2026-11-04T00:00:00Z",
                    "software": {"mopt": BUILD, "openvino": "2026.9"},
                }
            ]
        }
    ]
    measured.settle()
    assert measured.said() == READY | {"Outdated": ("True", "RuntimeChanged")}
    assert f"default by {NEW} with openvino 2026.1" in measured.condition("Outdated")["message"]


def other_quota(world: World) -> None:
    profile = world.settings.profiles[DEFAULT_PROFILE]
    limits = Resources(limits={"cpu": "1", "memory": "8Gi"})
    changed = profile.model_copy(update={"resources": limits})
    with_settings(world, profiles={DEFAULT_PROFILE: changed})


def other_flags(world: World, features: tuple[str, ...] = ("avx2",), at: str = "02") -> None:
    other = copy.deepcopy(the_target(world))
    other.pop("verification", None)
    hardware = other["hardware"] | {"cpuFeatures": list(features)}
    seen = {"hardware": hardware, "measuredAt": f"2026-11-{at}T00:00:00Z"}
    world.other_statuses = [{"targets": [other | seen]}]


@pytest.mark.parametrize(
    ("change", "reason", "hardware"),
    [
        (other_quota, "ResourcesChanged", CPU),
        (other_flags, "HardwareChanged", CPU.model_copy(update={"cpu_features": ["avx2"]})),
    ],
)
def test_other_limits_and_another_cpu_are_verified_too(
    measured: World, change: Callable[[World], None], reason: str, hardware: Any
) -> None:
    change(measured)
    measured.settle()
    job = measured.the_job(Stage.VERIFY, "default")
    measured.complete(job, found(job, hardware=hardware, build="0.1.0+000000000000"))
    measured.settle()
    assert measured.said() == READY
    assert the_target(measured)["verification"]["reason"] == reason
    assert measured.settle() == Plan()


def test_containers_that_see_one_cpu_differently_do_not_take_turns(measured: World) -> None:
    other_flags(measured)
    measured.settle()
    job = measured.the_job(Stage.VERIFY, "default")
    # This container has the instruction sets still.
    measured.complete(job, found(job, build="0.1.0+000000000000"))
    measured.settle()
    assert measured.said() == READY
    other_flags(measured, at="05")
    measured.settle()
    assert measured.said() == READY | {"Outdated": ("True", "HardwareChanged")}
    assert measured.stages().count("verify") == 1


def test_next_upgrade_is_verified_anew(measured: World) -> None:
    job = upgraded(measured)
    measured.complete(job, found(job))
    measured.settle()
    with_settings(measured, optimizer_image="mopt/optimizer:newest")
    measured.settle()
    again = measured.the_job(Stage.VERIFY, "default")
    assert again["metadata"]["name"] != job["metadata"]["name"]
    measured.complete(again, found(again, at="2026-11-05T00:00:00Z"))
    measured.settle()
    assert measured.said() == READY
    assert the_target(measured)["verification"]["optimizer"] == "mopt/optimizer:newest"


def test_back_to_the_first_image_is_verified_by_a_job_of_its_own(measured: World) -> None:
    first = measured.settings.optimizer_image
    names = []
    for image in (NEW, first, NEW):
        with_settings(measured, optimizer_image=image)
        measured.settle()
        job = measured.the_job(Stage.VERIFY, "default")
        names.append(job["metadata"]["name"])
        measured.complete(job, found(job, at=f"2026-11-0{3 + len(names)}T00:00:00Z"))
        measured.settle()
        assert measured.said() == READY
    assert len({*names}) == 3


def test_kept_baseline_holds_as_long_as_no_variant_is_better_by_enough(
    make_world: MakeWorld,
) -> None:
    world = make_world(objective={"minimumSpeedup": 10})
    world.run(data=DATA, hardware=CPU, selected="baseline")
    job = upgraded(world)
    assert plan_of(job).forms == [BEST, SECOND]
    world.complete(job, found(job, slower("baseline", 2)))
    world.settle()
    assert world.said() == {"Ready": ("True", "BaselineKept")}
    assert the_target(world)["verification"]["state"] == "Held"
    with_settings(world, optimizer_image="mopt/optimizer:newest")
    world.settle()
    again = world.the_job(Stage.VERIFY, "default")
    world.complete(again, found(again, slower("baseline", 3), at="2026-11-05T00:00:00Z"))
    world.settle()
    said = the_target(world)["verification"]
    assert said["message"] == "openvino-bf16 is 14.7 times as good as baseline"
