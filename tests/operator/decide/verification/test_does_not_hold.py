"""What does not hold is measured anew; what misses a gate is served no longer."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import digest, error_message
from operator_world import World
from verified_life import (
    BEST,
    DATA,
    NEW,
    READY,
    SECOND,
    found,
    full_run,
    missing,
    slower,
    the_target,
    upgraded,
)

from mopt_api.reasons import Reason


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
