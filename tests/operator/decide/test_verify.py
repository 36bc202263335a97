"""onUpgrade: Verify: the best forms are measured briefly, and what does not hold is made anew."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_messages import HARDWARE, digest, error_message, measure_message, prepare_message
from operator_world import MakeWorld, World, manifest
from pod_environment import environment

from mopt_api.artifacts import ArtifactFormat
from mopt_api.figures import DataDigests, Latency, QualityResult
from mopt_api.jobs.plan import PLAN_ADAPTER, Stage, VerifyPlan
from mopt_api.jobs.termination import MeasureSummary, VariantSummary, decode, encode
from mopt_api.reasons import Reason
from mopt_api.spec import ModelOptimizationSpec, Resources
from mopt_api.status import TargetStatus
from mopt_operator.config.known_bad import KnownBad
from mopt_operator.config.settings import DEFAULT_PROFILE, OnUpgrade, Settings, UpgradePolicy
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.verify import SHARE, concluded

NEW = "mopt/optimizer:newer"
BUILD = "0.2.0+ffffffffffff"
DATA = DataDigests(calibration=digest("calibration"), evaluation=digest("evaluation"))
CPU = HARDWARE.model_copy(update={"cpu_features": ["avx2", "avx512f"]})
READY = {"Ready": ("True", "Optimized")}
AT = "2026-11-03T00:00:00Z"
BEST, SECOND = "openvino-bf16", "onnxruntime-fp32"


def with_settings(world: World, **changes: object) -> None:
    policy = {"on_upgrade": OnUpgrade(policy=UpgradePolicy.VERIFY)}
    world.settings = world.settings.model_copy(update=policy | changes)


@pytest.fixture
def measured(make_world: MakeWorld) -> World:
    """Return a measured resource under the policy Verify."""
    world = make_world()
    world.run(data=DATA, hardware=CPU)
    with_settings(world)
    world.settle()
    assert world.said() == READY
    return world


def plan_of(job: dict[str, Any]) -> VerifyPlan:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    plan = PLAN_ADAPTER.validate_json(environment(container["env"])["MOPT_PLAN"])
    assert isinstance(plan, VerifyPlan)
    return plan


def found(
    job: dict[str, Any],
    change: Callable[[VariantSummary], dict[str, object]] = lambda _: {},
    *,
    kept: str | None = "baseline",
    **fields: object,
) -> str:
    """Return what a verification returns: the forms asked for as they were, but for changes.

    Args:
        kept: What is selected where no form passes.
    """
    told: dict[str, Any] = {"data": DATA, "hardware": CPU, "at": AT, "build": BUILD} | fields
    summary = decode(measure_message(result="verification", **told))
    assert isinstance(summary, MeasureSummary)
    assert summary.baseline is not None
    forms = [form for form in summary.variants if form.name in plan_of(job).forms]
    forms = [form.model_copy(update=change(form)) for form in forms]
    passed = [form.name for form in forms if form.state == "Passed"]
    baseline = summary.baseline.model_copy(update=change(summary.baseline))
    chosen = max(passed, key=lambda name: {BEST: 2, SECOND: 1}[name], default=kept)
    changed = {"variants": forms, "baseline": baseline, "selected": chosen}
    return encode(summary.model_copy(update=changed))


def slower(name: str, times: float) -> Callable[[VariantSummary], dict[str, object]]:
    def changed(form: VariantSummary) -> dict[str, object]:
        if form.name != name or form.latency_ms is None:
            return {}
        latency = form.latency_ms
        return {
            "latency_ms": Latency(
                p50=latency.p50 * times, p90=latency.p90 * times, p99=latency.p99 * times
            )
        }

    return changed


def missing(*names: str) -> Callable[[VariantSummary], dict[str, object]]:
    """Let forms miss their gate."""

    def changed(form: VariantSummary) -> dict[str, object]:
        if form.name not in names:
            return {}
        return {
            "state": "Rejected",
            "reason": "QualityGate",
            "message": "worst PSNR 31.00 is below 40",
            "quality": [QualityResult(metric="PSNR", worst=31.0, mean=33.0)],
        }

    return changed


def the_target(world: World) -> dict[str, Any]:
    (target,) = world.status["targets"]
    return dict(target)


def upgraded(world: World) -> dict[str, Any]:
    """Give the operator another image; return the Job that verifies."""
    with_settings(world, optimizer_image=NEW)
    world.settle()
    return world.the_job(Stage.VERIFY, "default")


def verified(world: World, **changes: Any) -> None:
    world.complete(world.the_job(Stage.VERIFY, "default"), found(**changes))
    world.settle()


# It holds.


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
    assert told.versions[NEW]["mopt"] == BUILD
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


# It does not hold.


def full_run(world: World, selected: str = BEST) -> None:
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.measure(data=DATA, hardware=CPU, build=BUILD, at=AT, selected=selected)


def test_winner_that_misses_a_gate_is_dropped_at_once_and_all_is_measured(measured: World) -> None:
    job = upgraded(measured)
    measured.complete(job, found(job, missing(BEST)))
    measured.settle()
    target = the_target(measured)
    # The runner-up was seen to hold.
    assert target["artifact"]["variant"] == target["selected"] == SECOND
    assert target["verification"]["state"] == "Broken"
    assert "openvino-bf16 was rejected: worst PSNR 31.00" in target["verification"]["message"]
    said = measured.condition("ArtifactAvailable")
    assert said["message"].endswith("in place of openvino-bf16: worst PSNR 31.00 is below 40")
    assert measured.said()["Ready"] == ("Unknown", "Preparing")
    full_run(measured, selected=SECOND)
    assert "verification" not in the_target(measured)
    assert the_target(measured)["optimizer"] == NEW
    assert "Outdated" not in measured.said()


@pytest.mark.parametrize("kept", ["baseline", None])
def test_where_no_verified_form_holds_the_baseline_is_served_or_nothing(
    measured: World, kept: str | None
) -> None:
    job = upgraded(measured)
    measured.complete(job, found(job, missing(BEST, SECOND), kept=kept))
    measured.settle()
    target = the_target(measured)
    assert target.get("selected") == target.get("artifact", {}).get("variant") == kept
    available = measured.condition("ArtifactAvailable")
    assert available["reason"] == ("Selected" if kept else "Withdrawn")
    assert "openvino-bf16: worst PSNR 31.00 is below 40" in available["message"]


@pytest.mark.parametrize(
    "edit",
    [
        {"objective": {"minimumSpeedup": 1.2}},
        {"quality": [{"metric": "PSNR", "minimum": 30}]},
        {"quality": [{"metric": "PSNR", "minimum": 45}]},
        {"execution": {"backoffLimit": 1}},
        {"execution": {"suspend": True}},
    ],
    ids=str,
)
def test_what_was_seen_to_miss_a_gate_is_not_taken_up_again(
    measured: World, edit: dict[str, Any]
) -> None:
    """The stored figures say that it holds: another spec does not bring it back by them."""
    job = upgraded(measured)
    measured.complete(job, found(job, missing(BEST)))
    measured.settle()
    measured.edit(**edit)
    measured.settle()
    artifact = the_target(measured).get("artifact")
    assert artifact is None or artifact["variant"] != BEST
    measured.lose_all_jobs()
    measured.settle()
    artifact = the_target(measured).get("artifact")
    assert artifact is None or artifact["variant"] != BEST


@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        (slower(BEST, 2.5), {}, "onnxruntime-fp32 is 1.28 times as good as openvino-bf16"),
        (slower("baseline", 0.15), {}, "openvino-bf16 is only 0.735 times as good as the baseline"),
        (
            lambda form: {"state": "Skipped", "reason": "NoBF16"} if form.name == BEST else {},
            {},
            "openvino-bf16: NoBF16",
        ),
        (
            lambda form: {"artifact_digest": digest("else")} if form.name == BEST else {},
            {},
            "openvino-bf16 could not be measured: its file is not the one that is served",
        ),
        (
            lambda _: {},
            {"data": DATA.model_copy(update={"evaluation": digest("other")})},
            "its data.evaluation is other data now",
        ),
    ],
)
def test_what_is_no_gate_leaves_the_artifact_until_all_is_measured(
    measured: World, change: Any, fields: dict[str, Any], said: str
) -> None:
    before = the_target(measured)
    job = upgraded(measured)
    measured.complete(job, found(job, change, **fields))
    measured.settle()
    target = the_target(measured)
    assert target["artifact"] == before["artifact"]
    assert (target["variants"], target["baseline"]) == (before["variants"], before["baseline"])
    assert target["verification"]["message"] == said
    assert measured.said()["Ready"] == ("Unknown", "Preparing")
    full_run(measured, selected=SECOND)
    assert the_target(measured)["artifact"]["variant"] == SECOND
    assert measured.said() == READY


def test_runner_up_that_misses_a_gate_has_all_measured_too(measured: World) -> None:
    job = upgraded(measured)
    measured.complete(job, found(job, missing(SECOND)))
    measured.settle()
    target = the_target(measured)
    assert target["artifact"]["variant"] == BEST
    assert {v["name"]: v["state"] for v in target["variants"]}[SECOND] == "Rejected"
    assert measured.said()["Ready"] == ("Unknown", "Preparing")


def test_verification_that_fails_has_all_measured(measured: World) -> None:
    job = upgraded(measured)
    measured.fail(job, error_message(Reason.OBJECT_NOT_FOUND, "result.json is gone"), exit_code=70)
    measured.settle()
    target = the_target(measured)
    assert target["artifact"]["variant"] == BEST
    assert "result.json is gone" in target["verification"]["message"]
    full_run(measured)
    assert measured.said() == READY


def test_operator_that_starts_anew_goes_on_with_the_full_run(measured: World) -> None:
    """Status alone says that it is broken: the verification's Job need not be there."""
    job = upgraded(measured)
    measured.complete(job, found(job, missing(BEST)))
    measured.settle()
    measured.lose_all_jobs()
    measured.settle()
    assert measured.stages() == ["prepare"]


# Who decides.


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


# Whatever is found.

STATES = ["Passed", "Rejected", "Failed", "Skipped"]


@cache
def being_verified() -> tuple[TargetStatus, ModelOptimizationSpec]:
    """Return a target while it is verified, and its spec."""
    world = World(Settings(optimizer_image="mopt/optimizer:test"), manifest())
    world.run(data=DATA, hardware=CPU)
    upgraded(world)
    spec = ModelOptimizationSpec.model_validate(world.raw["spec"])
    return TargetStatus.model_validate(the_target(world)), spec


@given(
    states=st.tuples(st.sampled_from(STATES), st.sampled_from(STATES)),
    latencies=st.lists(st.floats(0.01, 1000), min_size=3, max_size=3),
    same_file=st.booleans(),
    same_data=st.booleans(),
    selected=st.sampled_from([BEST, SECOND, "baseline", None]),
)
def test_finding_is_what_was_seen(
    states: tuple[str, str],
    latencies: list[float],
    same_file: bool,
    same_data: bool,
    selected: str | None,
) -> None:
    target, spec = being_verified()
    summary = decode(measure_message(data=DATA, hardware=CPU, at=AT, build=BUILD))
    assert isinstance(summary, MeasureSummary)
    assert summary.baseline is not None

    def seen(form: VariantSummary, state: str, latency: float) -> VariantSummary:
        timed = Latency(p50=latency, p90=latency, p99=latency)
        file = form.artifact_digest if same_file or form.name != BEST else digest("else")
        changed = {"state": state, "latency_ms": timed, "artifact_digest": file}
        return form.model_copy(update=changed)

    by_name = {form.name: form for form in summary.variants}
    forms = [
        seen(by_name[name], state, latency)
        for name, state, latency in zip((BEST, SECOND), states, latencies, strict=False)
    ]
    data = DATA if same_data else DATA.model_copy(update={"evaluation": digest("other")})
    summary = summary.model_copy(
        update={
            "variants": forms,
            "baseline": seen(summary.baseline, "Passed", latencies[2]),
            "data": data,
            "selected": selected,
        }
    )
    after = concluded(target, summary, spec, optimizer=NEW, limits={})
    assert after.verification is not None
    best, second, baseline = latencies
    held = after.verification.state == "Held"
    assert held == (
        states[0] == "Passed"
        and states[1] != "Rejected"
        and same_file
        and same_data
        and baseline / best * (1 + SHARE) >= 1
        and (states[1] != "Passed" or best / second <= 1 + SHARE)
    )
    assert (after.from_earlier_run is None) == held
    if held:
        changed = {"verification", "from_earlier_run", "source"}
        assert after.model_dump(exclude=changed) == target.model_dump(exclude=changed)
    rejected = {n for n, s in zip((BEST, SECOND), states, strict=True) if s == "Rejected"}
    if not same_file:
        rejected -= {BEST}
    assert after.selected not in rejected
    assert {form.name for form in after.everyone if form.state == "Rejected"} >= rejected


def test_winner_under_load_may_be_behind_in_single_calls_as_it_was() -> None:
    target, spec = being_verified()
    summary = decode(measure_message(data=DATA, hardware=CPU, at=AT, build=BUILD))
    assert isinstance(summary, MeasureSummary)
    behind = slower(BEST, 3)
    summary = summary.model_copy(
        update={"variants": [f.model_copy(update=behind(f)) for f in summary.variants]}
    )
    known = {form.name: form.latency_ms for form in summary.variants}
    was = [form.model_copy(update={"latency_ms": known[form.name]}) for form in target.variants]
    same = concluded(
        target.model_copy(update={"variants": was}), summary, spec, optimizer=NEW, limits={}
    )
    assert same.verification is not None
    assert same.verification.state == "Held"
    new = concluded(target, summary, spec, optimizer=NEW, limits={})
    assert new.verification is not None
    assert new.verification.message == "onnxruntime-fp32 is 1.53 times as good as openvino-bf16"
