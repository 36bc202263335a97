"""Each cause for which a result is no longer that of the present has its reason in Outdated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from job_messages import HARDWARE, Messages, Outcome, digest
from operator_world import MakeWorld, World

from mopt_api.figures import DataDigests
from mopt_api.jobs.plan import Stage
from mopt_api.reasons import AWAIT_RUN, MEASURE_AGAIN, OUTDATED_REASONS, Reason
from mopt_api.spec import Resources
from mopt_operator.config.known_bad import KnownBad
from mopt_operator.config.settings import DEFAULT_PROFILE, OnUpgrade, Settings, UpgradePolicy
from mopt_operator.decide.decide import Plan

LATER = "2026-11-02T00:00:00Z"
BUILD = "0.1.0+000000000000"
DATA = DataDigests(calibration=digest("calibration"), evaluation=digest("evaluation"))
CPU = HARDWARE.model_copy(update={"cpu_features": ["avx2", "avx512f"]})
WITH_SSIM = [{"metric": "PSNR", "minimum": 40}, {"metric": "SSIM", "minimum": 0.9}]


def told(world: World, **changes: Any) -> None:
    """Let another resource's later result be as this one's, but for some fields."""
    (target,) = world.status["targets"]
    other: dict[str, Any] = copy.deepcopy(target)
    for name, value in changes.items():
        other[name] = other[name] | value if isinstance(value, dict) else value
    world.other_statuses = [{"targets": [other | {"measuredAt": LATER}]}]


def other_settings(world: World, **changes: object) -> None:
    world.settings = world.settings.model_copy(update=changes)


def known_bad(world: World) -> None:
    bad = KnownBad(package="OpenVINO", versions="<2026.1.2", because="wrong results on AMX.")
    other_settings(world, known_bad=[bad])


def other_model(world: World) -> None:
    world.edit(model=world.raw["spec"]["model"] | {"sha256": "b" * 64})


def other_gates(world: World) -> None:
    world.edit(quality=WITH_SSIM)


def other_image(world: World) -> None:
    other_settings(world, optimizer_image="mopt/optimizer:newer")


def other_runtime(world: World) -> None:
    told(world, software={"openvino": "2026.2"})


def other_samples(world: World) -> None:
    world.edit(data=world.raw["spec"]["data"] | {"evaluation": {"uri": "s3://data/new/"}})


def other_bytes(world: World) -> None:
    told(world, data={"evaluation": digest("other")})


def other_flags(world: World) -> None:
    told(world, hardware={"cpuFeatures": ["avx2", "avx512_vnni"]})


def other_cpu(world: World) -> None:
    told(world, hardware={"cpu": "Another CPU"})


def other_quota(world: World) -> None:
    profile = world.settings.profiles[DEFAULT_PROFILE]
    limits = Resources(limits={"cpu": "1", "memory": "8Gi"})
    changed = profile.model_copy(update={"resources": limits})
    other_settings(world, profiles={DEFAULT_PROFILE: changed})


@dataclass(frozen=True)
class Case:
    change: Callable[[World], None]
    reason: Reason
    message: str
    earlier: bool = field(default=False)


CASES = [
    Case(
        known_bad,
        Reason.KNOWN_BAD_VERSION,
        "default by openvino 2026.1: OpenVINO <2026.1.2 is known to be bad: wrong results on AMX.",
    ),
    Case(other_model, Reason.MODEL_CHANGED, f"spec.model.sha256 is {'b' * 12}.", earlier=True),
    Case(
        other_gates,
        Reason.GATES_CHANGED,
        "with PSNR computed; spec.quality now asks for PSNR at least 40, SSIM at least 0.9.",
        earlier=True,
    ),
    Case(other_image, Reason.OLDER_OPTIMIZER, "the present mopt/optimizer:newer: default by"),
    Case(other_runtime, Reason.RUNTIME_CHANGED, "with openvino 2026.1, now 2026.2."),
    Case(
        other_samples,
        Reason.DATA_CHANGED,
        f"with {digest('evaluation')[:19]} as data.evaluation; spec now names s3://data/new/.",
        earlier=True,
    ),
    Case(
        other_bytes,
        Reason.DATA_CHANGED,
        f"measured with {digest('evaluation')[:19]}; a result of {LATER} saw "
        f"{digest('other')[:19]} at the same place.",
    ),
    Case(
        other_flags,
        Reason.HARDWARE_CHANGED,
        f"is another since {LATER}: without avx512f, with avx512_vnni.",
    ),
    Case(other_cpu, Reason.HARDWARE_CHANGED, f"since {LATER}: Test CPU, now Another CPU."),
    Case(
        other_quota,
        Reason.RESOURCES_CHANGED,
        "default was measured with CPU limit 2, now 1, memory limit 4608Mi, now 8Gi.",
    ),
]


@pytest.fixture
def measured(make_world: MakeWorld) -> World:
    world = make_world()
    world.run(data=DATA, hardware=CPU)
    return world


def test_every_reason_is_tried() -> None:
    assert {case.reason for case in CASES} == {*OUTDATED_REASONS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.change.__name__)
def test_cause_has_its_reason_and_says_what_changed(measured: World, case: Case) -> None:
    assert "Outdated" not in measured.said()
    before = copy.deepcopy(measured.status["targets"])
    case.change(measured)
    measured.settle()
    assert measured.said()["Outdated"] == ("True", case.reason)
    message = measured.condition("Outdated")["message"]
    assert case.message in message
    assert message.endswith(AWAIT_RUN if case.earlier else MEASURE_AGAIN)
    served = [(t["artifact"], t["selected"]) for t in measured.status["targets"]]
    assert served == [(t["artifact"], t["selected"]) for t in before]
    assert measured.decide().status is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.change.__name__)
def test_cause_is_gone_with_the_next_result(measured: World, case: Case) -> None:
    case.change(measured)
    measured.settle()
    if not case.earlier:
        measured.request("again")
    seen: Outcome = {"data": DATA, "hardware": CPU, "at": "2026-11-03T00:00:00Z"}
    if case.change is known_bad:
        seen["tools"] = {"openvino": "2026.1.2"}
    measured.settle()
    if measured.said()["Ready"][1] == "Preparing":
        prepared = Messages.prepare(measured.raw["spec"]["model"]["sha256"])
        measured.complete(measured.the_job(Stage.PREPARE), prepared)
        measured.settle()
    measured.measure(**seen)
    assert "Outdated" not in measured.said()


def nothing_new(world: World) -> None:
    told(world)


def another_node(world: World) -> None:
    told(world, hardware={"node": "node-2", "cpu": "Another CPU"})


def another_place(world: World) -> None:
    told(world, data={"evaluation": digest("other")}, measurement={"parts": {"evaluation": "x"}})


def other_mopt_s_words(world: World) -> None:
    """Another mopt names other instruction sets, and makes other digests."""
    told(
        world,
        optimizer="mopt/optimizer:newer",
        software={"mopt": "0.2.0+ffffffffffff"},
        hardware={"cpuFeatures": ["avx2", "avx10"]},
        data={"evaluation": digest("other")},
    )


def no_room_for_details(world: World) -> None:
    told(world, hardware={"cpuFeatures": [], "cpu": "Test"})


def earlier_result(world: World) -> None:
    told(world, hardware={"cpu": "Another CPU"}, data={"evaluation": digest("other")})
    world.other_statuses[0]["targets"][0]["measuredAt"] = "2026-10-01T00:00:00Z"


def same_limits_otherwise(world: World) -> None:
    profile = world.settings.profiles[DEFAULT_PROFILE]
    limits = Resources(limits={"cpu": "2000m", "memory": "4608Mi", "ephemeral-storage": "1Gi"})
    changed = profile.model_copy(update={"resources": limits})
    other_settings(world, profiles={DEFAULT_PROFILE: changed})


def other_tools_are_bad(world: World) -> None:
    listed = {"openvino": "<2026.1", "torch": ">0", "mopt": "===x", "open-vino": ">0"}
    bad = [KnownBad(package=p, versions=v, because="bad") for p, v in listed.items()]
    other_settings(world, known_bad=bad)


def same_data_said_otherwise(world: World) -> None:
    evaluation = {"uri": "s3://data/evaluation", "samples": 64, "images": {}}
    world.edit(data=world.raw["spec"]["data"] | {"evaluation": evaluation})


@pytest.mark.parametrize(
    "change",
    [
        nothing_new,
        another_node,
        another_place,
        other_mopt_s_words,
        no_room_for_details,
        earlier_result,
        same_limits_otherwise,
        other_tools_are_bad,
    ],
    ids=lambda change: change.__name__,
)
def test_what_is_no_change_marks_nothing(measured: World, change: Callable[[World], None]) -> None:
    change(measured)
    writes = measured.status_writes
    assert measured.settle() == Plan()
    assert measured.status_writes == writes


def test_data_that_is_said_otherwise_is_no_other_data(measured: World) -> None:
    same_data_said_otherwise(measured)
    measured.settle()
    assert "Outdated" not in measured.said()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.change.__name__)
def test_what_an_older_version_did_not_record_marks_nothing(measured: World, case: Case) -> None:
    (target,) = measured.status["targets"]
    del target["measurement"]["limits"], target["measurement"]["parts"]
    case.change(measured)
    measured.settle()
    recorded = case.change in (other_samples, other_bytes, other_quota)
    assert ("Outdated" in measured.said()) is not recorded


def test_several_causes_are_all_named_and_the_first_is_the_reason(measured: World) -> None:
    other_quota(measured)
    other_cpu(measured)
    known_bad(measured)
    measured.settle()
    assert measured.said()["Outdated"] == ("True", "KnownBadVersion")
    message = measured.condition("Outdated")["message"]
    assert "now Another CPU." in message
    assert "CPU limit 2, now 1" in message
    assert message.count(MEASURE_AGAIN) == 2  # As such, and after the advice to change the image.


def test_limits_are_those_of_the_figures_after_another_selection(
    make_world: MakeWorld, messages: Messages
) -> None:
    """A report Job's figures are older than the limits that Jobs get now."""
    points = [{"name": "one"}, {"name": "four", "dimensions": {"batch": 4}}]
    world = make_world(benchmark={"points": points}, objective={"point": "one"})
    world.run(point="one")
    limits = world.status["targets"][0]["measurement"]["limits"]
    assert limits == {"cpu": "2", "memory": "4608Mi"}
    world.edit(objective={"point": "four"})
    world.settle()
    world.complete(world.the_job(Stage.REPORT, "default"), messages.measure(point="four"))
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"][0]["measurement"]["limits"] == limits


def test_limits_behind_figures_of_the_store_are_not_known(world: World) -> None:
    world.run(served=True)
    assert "limits" not in world.status["targets"][0]["measurement"]
    other_quota(world)
    world.settle()
    assert "Outdated" not in world.said()


def test_gates_that_judge_the_same_figures_again_are_no_cause_later(measured: World) -> None:
    measured.edit(quality=[{"metric": "PSNR", "minimum": 45}])
    measured.settle()
    assert "Outdated" not in measured.said()
    other_samples(measured)
    measured.settle()
    assert measured.said()["Outdated"] == ("True", "DataChanged")
    assert "gates" not in measured.condition("Outdated")["message"]


def test_rerun_after_an_upgrade_is_no_cause(world: World, settings: Settings) -> None:
    world.run()
    other_image(world)
    other_settings(world, on_upgrade=OnUpgrade(policy=UpgradePolicy.RERUN))
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert "Outdated" not in world.said()
