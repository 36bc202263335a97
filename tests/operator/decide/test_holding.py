"""Whatever happens, status names nothing to serve whose own figures miss a present gate."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_messages import MODEL_SHA, digest, measure_message, prepare_message
from operator_world import World, manifest

from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import MeasureSummary, decode, encode
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import TargetStatus
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.holding import held

FAIL = {"onNoWinner": "Fail"}
OTHER_DATA = {
    "calibration": {"uri": "s3://data/calibration/"},
    "evaluation": {"uri": "s3://data/other/"},
}
GROUND_TRUTH = copy.deepcopy(OTHER_DATA)
GROUND_TRUTH["evaluation"] |= {"references": {"uri": "s3://data/truth/"}}  # type: ignore[dict-item]


def psnr(minimum: float, **other: object) -> list[dict[str, Any]]:
    gates: list[dict[str, Any]] = [{"metric": "PSNR", "minimum": minimum}]
    return gates + [{"metric": metric} | {"minimum": least} for metric, least in other.items()]


def missed(target: dict[str, Any], spec: dict[str, Any]) -> list[str]:
    """Return the gates that the figures of what a target serves miss, as far as they are there."""
    artifact = target.get("artifact")
    forms = [target["baseline"], *target["variants"]]
    found = []
    for form in forms:
        file = form.get("artifact")
        if not artifact or not file or form["name"] != artifact["variant"]:
            continue
        if file["digest"] == artifact["digest"]:
            worst = {q["metric"]: q["worst"] for q in form.get("quality", ())}
            found += [
                f"{form['name']} {gate['metric']} {worst[gate['metric']]} {gate}"
                for gate in spec["quality"]
                if gate["metric"] in worst and worst[gate["metric"]] < gate["minimum"]
            ]
    return found


def artifact_of(world: World) -> dict[str, Any] | None:
    (target,) = world.status["targets"]
    artifact: dict[str, Any] | None = target.get("artifact")
    return artifact


# Gates alone: the figures are judged again, and the run is over at once.


def test_winner_that_misses_tightened_gates_is_replaced_and_status_says_why(world: World) -> None:
    world.run()
    world.edit(quality=psnr(60))
    world.settle()
    artifact = artifact_of(world)
    assert artifact is not None
    assert artifact["variant"] == "onnxruntime-fp32"
    message = world.condition("ArtifactAvailable")["message"]
    assert message.endswith("in place of openvino-bf16: worst PSNR 58.34 is below 60")
    assert world.decide() == Plan()


def test_nothing_is_served_where_no_form_holds_and_status_says_why(world: World) -> None:
    world.run()
    world.edit(quality=psnr(150), objective=FAIL)
    world.settle()
    assert world.said()["Ready"] == ("False", "NoVariantPassed")
    assert artifact_of(world) is None
    said = world.condition("ArtifactAvailable")
    assert (said["status"], said["reason"]) == ("False", "Withdrawn")
    assert said["message"].startswith("default: openvino-bf16: worst PSNR 58.34 is below 150. ")
    assert world.status["history"][0]["artifact"] == digest("openvino-bf16")
    assert world.decide() == Plan()
    world.edit(quality=psnr(40))
    world.settle()
    assert world.condition("ArtifactAvailable")["status"] == "True"


def test_result_that_rejects_what_is_served_withdraws_it(world: World) -> None:
    world.run()
    world.edit(objective=FAIL)
    world.settle()
    world.request("again")
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), rejecting())
    world.settle()
    assert artifact_of(world) is None
    assert world.condition("ArtifactAvailable")["reason"] == "Withdrawn"


def rejecting() -> str:
    """Return the outcome of a measurement that rejects every variant."""
    summary = decode(measure_message(selected=None))
    assert isinstance(summary, MeasureSummary)
    rejected = {"state": "Rejected", "reason": "QualityGate", "message": "worst PSNR is below 40"}
    variants = [variant.model_copy(update=rejected) for variant in summary.variants]
    return encode(summary.model_copy(update={"variants": variants}))


# Something else changed too: the figures of the earlier run are shown until there are others.


@pytest.mark.parametrize("others", [{}, {"objective": FAIL}], ids=["keeps the baseline", "fails"])
def test_earlier_run_s_winner_is_replaced_by_its_best_form_that_holds(
    world: World, others: dict[str, Any]
) -> None:
    world.run()
    world.edit(quality=psnr(60), data=OTHER_DATA, **others)
    world.settle()
    (target,) = world.status["targets"]
    assert (target["fromEarlierRun"], target["selected"]) == (True, "onnxruntime-fp32")
    assert target["artifact"]["digest"] == digest("onnxruntime-fp32")
    assert "in place of openvino-bf16: " in world.condition("ArtifactAvailable")["message"]
    assert world.said()["Outdated"] == ("True", "GatesChanged")
    assert "data.evaluation" in world.condition("Outdated")["message"]


@pytest.mark.parametrize(
    ("others", "served"), [({}, "baseline"), ({"objective": FAIL}, None)], ids=["keeps", "fails"]
)
def test_where_no_form_holds_the_baseline_is_served_or_nothing(
    world: World, others: dict[str, Any], served: str | None
) -> None:
    world.run()
    world.edit(quality=psnr(150), data=OTHER_DATA, **others)
    world.settle()
    artifact = artifact_of(world)
    assert (artifact and artifact["variant"]) == served
    said = world.condition("ArtifactAvailable")
    assert said["status"] == ("True" if served else "False")
    assert "openvino-bf16: worst PSNR 58.34 is below 150" in said["message"]
    world.settle()
    world.measure(selected="onnxruntime-fp32")
    assert world.condition("ArtifactAvailable")["status"] == "True"


@pytest.mark.parametrize(("most", "served"), [("30ms", "openvino-bf16"), ("20ms", None)])
def test_what_misses_a_constraint_is_not_served(
    world: World, most: str, served: str | None
) -> None:
    world.run()
    bounded = {"constraints": [{"metric": "LatencyP99", "maximum": most}]}
    world.edit(objective=bounded, data=OTHER_DATA)
    world.settle()
    artifact = artifact_of(world)
    assert (artifact and artifact["variant"]) == served
    if served is None:
        message = world.condition("ArtifactAvailable")["message"]
        assert message.startswith("default: openvino-bf16: LatencyP99 24.5 ms is 22.4 % above 20ms")


@pytest.mark.parametrize(
    "unknown",
    [
        {"quality": psnr(40, SSIM=0.99)},
        {"quality": [{"metric": "PSNR", "minimum": 90, "dataRange": 255}]},
        {"quality": psnr(90), "data": GROUND_TRUTH},
    ],
    ids=["metric", "range", "reference"],
)
def test_form_of_unknown_quality_stays(world: World, unknown: dict[str, Any]) -> None:
    world.run()
    world.status["targets"][0]["reference"] = "Baseline"
    before = artifact_of(world)
    world.edit(**unknown)
    world.settle()
    assert artifact_of(world) == before
    assert world.condition("ArtifactAvailable")["status"] == "True"


def test_what_is_withdrawn_while_suspended_stalls(world: World) -> None:
    world.run()
    world.edit(quality=psnr(150), data=OTHER_DATA, objective=FAIL, execution={"suspend": True})
    world.settle()
    assert world.said()["Ready"] == ("False", "Suspended")
    assert artifact_of(world) is None


def test_spec_that_is_refused_otherwise_withdraws_too(world: World) -> None:
    world.run()
    no_profile = [{"name": "default", "profile": "none"}]
    world.edit(quality=psnr(150), objective=FAIL, targets=no_profile)
    world.settle()
    assert world.said()["Ready"] == ("False", "InvalidSpec")
    assert artifact_of(world) is None
    assert world.condition("ArtifactAvailable")["reason"] == "Withdrawn"
    assert world.decide() == Plan()


def test_what_an_older_version_left_is_withdrawn_and_the_rest_stays(world: World) -> None:
    world.run()
    before = copy.deepcopy(world.status["targets"][0]["artifact"])
    world.edit(quality=psnr(150), objective=FAIL)
    world.settle()
    withdrawn = copy.deepcopy(world.status)
    world.status["targets"][0]["artifact"] = before
    world.status["targets"][0]["rolledOut"] = {"by": "a newer version"}
    world.status["conditions"] = [
        c | {"status": "True", "reason": "Selected"} if c["type"] == "ArtifactAvailable" else c
        for c in world.status["conditions"]
    ]
    world.settle()
    assert world.status["targets"][0].pop("rolledOut") == {"by": "a newer version"}
    assert world.status == withdrawn


# Properties.

GATES = st.builds(
    lambda least, ssim: psnr(least) if ssim is None else psnr(least, SSIM=ssim),
    st.sampled_from([20.0, 39.5, 40.0, 58.0, 59.0, 131.2, 140.0]),
    st.none() | st.sampled_from([0.5, 0.9]),
)
EDITS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "quality": GATES,
            "data": st.just(OTHER_DATA),
            "objective": st.sampled_from(
                [{}, FAIL, {"minimumSpeedup": 3}, {"metric": "SizeBytes"}]
            ),
            "execution": st.sampled_from([{}, {"suspend": True}]),
            "targets": st.sampled_from([[], [{"name": "default", "profile": "none"}]]),
            "model": st.sampled_from(["a" * 64, MODEL_SHA]).map(
                lambda sha: manifest()["spec"]["model"] | {"sha256": sha}
            ),
        },
    ),
    min_size=1,
    max_size=4,
)


@given(edits=EDITS)
@settings(max_examples=12)
def test_no_sequence_of_edits_leaves_what_misses_a_gate(edits: list[dict[str, Any]]) -> None:
    world = World(Settings(optimizer_image="mopt/optimizer:test"), manifest())
    world.run()
    for edit in edits:
        world.edit(**edit)
        world.settle()
        for target in world.status["targets"]:
            assert missed(target, world.raw["spec"]) == []
        said = [c for c in world.status["conditions"] if c["type"] == "ArtifactAvailable"]
        served = [t.get("artifact") for t in world.status["targets"]]
        assert [c["status"] for c in said] == ["True" if all(served) else "False"]


@st.composite
def targets(draw: st.DrawFn) -> dict[str, Any]:
    """Return a target as any version may have left it, of any figures."""
    target: dict[str, Any] = copy.deepcopy(_measured())
    for variant in target["variants"]:
        variant["state"] = draw(st.sampled_from(["Passed", "Rejected", "Failed"]))
        if variant["state"] != "Passed":
            variant["reason"] = draw(st.sampled_from(["QualityGate", "OtherFunction", "Crashed"]))
        value = draw(st.floats(10, 150))
        variant["quality"] = [{"metric": "PSNR", "worst": value, "mean": value}]
        if draw(st.booleans()):
            share = draw(st.floats(0, 1))
            variant["quality"].append({"metric": "SSIM", "worst": share, "mean": share})
    names = [variant["name"] for variant in target["variants"]]
    target["selected"] = draw(st.sampled_from([*names, "baseline"]))
    served = draw(st.sampled_from(target["variants"]))
    same = {key: served[key] for key in ("runtime", "precision")} | {"variant": served["name"]}
    target["artifact"] |= served["artifact"] | same
    target["fromEarlierRun"] = draw(st.booleans()) or None
    target["measurement"]["judged"] = "another"
    return target


@cache
def _measured() -> dict[str, Any]:
    world = World(Settings(optimizer_image="mopt/optimizer:test"), manifest())
    world.run()
    (target,) = world.status["targets"]
    found: dict[str, Any] = target
    return found


@given(target=targets(), gates=GATES, objective=st.sampled_from([{}, FAIL]))
def test_no_figures_leave_what_misses_a_gate(
    target: dict[str, Any], gates: list[dict[str, Any]], objective: dict[str, Any]
) -> None:
    spec = manifest(quality=gates, objective=objective)["spec"]
    wanted = ModelOptimizationSpec.model_validate(spec)
    before = TargetStatus.model_validate({k: v for k, v in target.items() if v is not None})
    after = held(before, None, wanted).to_api()
    assert missed(after, spec) == []
    chosen = [v for v in after["variants"] if v["name"] == after.get("selected")]
    for form in chosen:
        assert (
            missed(after | {"artifact": form["artifact"] | {"variant": form["name"]}}, spec) == []
        )
    if not missed(target, spec):
        assert after.get("artifact") == target["artifact"]
