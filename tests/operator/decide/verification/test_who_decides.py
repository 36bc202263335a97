"""When a result is verified, and when all is made anew at once."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from job_messages import digest, prepare_message
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
    missing,
    plan_of,
    the_target,
    upgraded,
    with_settings,
)

from mopt_api.artifacts import ArtifactFormat
from mopt_api.jobs.plan import Stage
from mopt_operator.config.known_bad import KnownBad
from mopt_operator.config.settings import OnUpgrade, UpgradePolicy


@pytest.mark.parametrize("policy", [UpgradePolicy.KEEP, UpgradePolicy.RERUN])
def test_other_policies_verify_nothing(measured: World, policy: UpgradePolicy) -> None:
    with_settings(measured, on_upgrade=OnUpgrade(policy=policy), optimizer_image=NEW)
    measured.settle()
    assert "verify" not in measured.stages()


def test_what_has_begun_goes_on_under_another_policy(measured: World) -> None:
    job = upgraded(measured)
    with_settings(measured, on_upgrade=OnUpgrade(policy=UpgradePolicy.KEEP), optimizer_image=NEW)
    measured.settle()
    measured.complete(job, found(job))
    measured.settle()
    assert measured.said() == READY


def known_bad(world: World) -> None:
    bad = KnownBad(package="openvino", versions="==2026.1", because="wrong results on AMX.")
    with_settings(world, optimizer_image=NEW, known_bad=[bad])


def engine(world: World) -> None:
    (target,) = world.raw["status"]["targets"]
    for variant in target["variants"]:
        variant["artifact"]["format"] = ArtifactFormat.TENSORRT_ENGINE.value
    with_settings(world, optimizer_image=NEW)


def other_bytes(world: World) -> None:
    other = copy.deepcopy(the_target(world))
    seen = {"measuredAt": "2026-11-02T00:00:00Z", "data": {"evaluation": digest("other")}}
    world.other_statuses = [{"targets": [other | seen]}]
    with_settings(world, optimizer_image=NEW)


@pytest.mark.parametrize("change", [known_bad, engine, other_bytes])
def test_full_run_where_a_verification_would_not_tell(
    measured: World, change: Callable[[World], None]
) -> None:
    change(measured)
    measured.settle()
    assert measured.said()["Ready"] == ("Unknown", "Preparing")
    assert "verify" not in measured.stages()


def test_change_of_spec_amid_a_verification_is_what_is_done(measured: World) -> None:
    """Of figures that cannot be judged by the new spec nothing is verified."""
    upgraded(measured)
    measured.edit(benchmark={"minDurationSeconds": 1})
    measured.settle()
    assert measured.said()["Ready"] == ("Unknown", "Preparing")
    assert measured.stages().count("verify") == 0
    assert "verification" not in the_target(measured)


def test_other_gates_amid_a_verification_are_judged_and_verified(measured: World) -> None:
    first = upgraded(measured)
    measured.edit(quality=[{"metric": "PSNR", "minimum": 45}])
    measured.settle()
    job = measured.the_job(Stage.VERIFY, "default")
    assert job["metadata"]["name"] != first["metadata"]["name"]
    assert plan_of(job).quality[0].minimum == 45
    measured.complete(job, found(job))
    measured.settle()
    assert measured.said() == READY


def test_suspended_resources_are_left_alone(measured: World) -> None:
    measured.edit(execution={"suspend": True})
    measured.settle()
    with_settings(measured, optimizer_image=NEW)
    measured.settle()
    assert measured.said() == READY | {"Outdated": ("True", "OlderOptimizer")}


def test_suspended_amid_a_verification_keeps_what_it_serves(measured: World) -> None:
    upgraded(measured)
    measured.edit(execution={"suspend": True})
    measured.settle()
    assert measured.stages().count("verify") == 0
    assert the_target(measured)["artifact"]["variant"] == BEST
    measured.edit(execution={"suspend": False})
    measured.settle()
    job = measured.the_job(Stage.VERIFY, "default")
    measured.complete(job, found(job))
    measured.settle()
    assert measured.said() == READY


def test_one_target_that_breaks_does_not_touch_the_other(make_world: MakeWorld) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.run(("a", "b"), data=DATA, hardware=CPU)
    with_settings(world, optimizer_image=NEW)
    world.settle()
    jobs = {name: world.the_job(Stage.VERIFY, name) for name in "ab"}
    world.complete(jobs["a"], found(jobs["a"], missing(BEST), target="a"))
    world.settle()
    world.complete(jobs["b"], found(jobs["b"], target="b"))
    world.settle()
    a, b = world.status["targets"]
    assert (a["verification"]["state"], b["verification"]["state"]) == ("Broken", "Held")
    assert "fromEarlierRun" not in b
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    assert world.stages().count("measure") == 1
    world.measure(("a",), data=DATA, hardware=CPU, selected=SECOND, build=BUILD, at=AT)
    assert world.said() == READY


def test_turn_is_awaited(measured: World) -> None:
    measured.may_rerun = False
    with_settings(measured, optimizer_image=NEW)
    plan = measured.decide()
    assert plan.rerun_waits
    measured.carry_out(plan)
    assert "verify" not in measured.stages()
    assert measured.said() == READY | {"Outdated": ("True", "OlderOptimizer")}
