"""What to serve stays in status until another form is selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from job_messages import Messages, digest
from operator_world import MakeWorld, World

from mopt_api.enums import QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.jobs.plan import Stage
from mopt_api.reasons import Reason
from mopt_operator.config.settings import OnUpgrade, Settings, UpgradePolicy
from mopt_operator.decide.decide import Plan


def served(world: World) -> dict[str, Any]:
    (target,) = world.status["targets"]
    artifact: dict[str, Any] = target["artifact"]
    return artifact


def test_one_path_reads_what_to_serve(world: World) -> None:
    world.run()
    assert served(world) == {
        "digest": digest("openvino-bf16"),
        "sizeBytes": 2_450_000,
        "format": "ONNX",
        "uri": f"s3://optimized/sr/blobs/sha256/{digest('openvino-bf16')[7:]}",
        "variant": "openvino-bf16",
        "runtime": "OpenVINO",
        "precision": "BF16",
        "report": digest("result"),
        "generation": 1,
        "time": "2026-11-01T12:00:00Z",
    }
    available = world.condition("ArtifactAvailable")
    assert (available["status"], available["reason"]) == ("True", "Selected")
    assert available["message"] == f"default: openvino-bf16 ({digest('openvino-bf16')[:19]})"


def test_what_an_int8_form_computes_the_rest_in_is_told_to_who_serves_it(world: World) -> None:
    int8 = {
        "state": "Passed",
        "reason": None,
        "message": None,
        "float_precision": "BF16",
        "quality": [QualityResult(metric=QualityMetric.PSNR, worst=44.0, mean=45.0)],
    }
    world.run(selected="onnxruntime-int8", int8=int8)
    assert served(world)["floatPrecision"] == "BF16"
    by_name = {variant["name"]: variant for variant in world.status["targets"][0]["variants"]}
    assert by_name["onnxruntime-int8"]["floatPrecision"] == "BF16"
    assert "floatPrecision" not in by_name["openvino-bf16"]


def test_nothing_to_serve_before_the_first_selection(world: World) -> None:
    world.settle()
    assert "ArtifactAvailable" not in {c["type"] for c in world.status["conditions"]}
    assert world.status["targets"] == []


def test_kept_baseline_is_served_as_the_source_model(world: World) -> None:
    world.run(selected="baseline")
    artifact = served(world)
    assert artifact["uri"] == world.raw["spec"]["model"]["uri"]
    assert (artifact["variant"], artifact["runtime"]) == ("baseline", "PyTorch")


def request_again(world: World, _: Settings) -> None:
    world.request("again")


def change_model(world: World, _: Settings) -> None:
    world.edit(model=world.raw["spec"]["model"] | {"sha256": "b" * 64})


def upgrade(world: World, settings: Settings) -> None:
    update = {
        "optimizer_image": "mopt/optimizer:newer",
        "on_upgrade": OnUpgrade(policy=UpgradePolicy.RERUN),
    }
    world.settings = settings.model_copy(update=update)


def suspend_and_change(world: World, _: Settings) -> None:
    world.edit(execution={"suspend": True}, benchmark={"minDurationSeconds": 9})


AGAIN = [request_again, change_model, upgrade, suspend_and_change]


@pytest.mark.parametrize("again", AGAIN)
def test_it_stays_while_all_is_made_again(
    world: World, settings: Settings, again: Callable[[World, Settings], None]
) -> None:
    world.run()
    before = served(world)
    world.sleep(60)
    again(world, settings)
    world.settle()
    assert served(world) == before
    (target,) = world.status["targets"]
    assert target["fromEarlierRun"] is True
    assert target["selected"] == "openvino-bf16"
    assert world.said()["Ready"][0] == ("True" if again is suspend_and_change else "Unknown")
    assert world.condition("ArtifactAvailable")["lastTransitionTime"] == "2026-11-01T12:00:00Z"


@pytest.mark.parametrize("again", AGAIN[:3])
def test_it_stays_where_making_it_again_fails(
    world: World,
    settings: Settings,
    messages: Messages,
    again: Callable[[World, Settings], None],
) -> None:
    world.run()
    before = served(world)
    again(world, settings)
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.terminated_pod(job, messages.error(Reason.INVALID_MODEL, "not a model"), exit_code=65)
    world.end(job, "Failed", "PodFailurePolicy")
    world.settle()
    assert world.said()["Ready"] == ("False", "InvalidModel")
    assert served(world) == before
    # However long ago: the failed Job is gone, and nothing begins anew by itself.
    world.lose_all_jobs()
    assert world.decide() == Plan()


def test_no_winner_within_the_gates_leaves_the_last_one_to_serve(world: World) -> None:
    world.run()
    before = served(world)
    world.edit(objective={"onNoWinner": "Fail", "minimumSpeedup": 9})
    world.settle()
    assert world.said()["Ready"] == ("False", "NoVariantPassed")
    assert served(world) == before
    assert "fromEarlierRun" not in world.status["targets"][0]


def test_same_form_again_keeps_its_time_and_names_the_new_proof(world: World) -> None:
    world.run()
    before = served(world)
    world.sleep(60)
    world.request("again")
    world.run(result="second")
    assert served(world) == before | {"report": digest("second")}


def test_another_form_replaces_it(world: World) -> None:
    world.run()
    world.sleep(60)
    world.request("again")
    world.run(selected="onnxruntime-fp32")
    artifact = served(world)
    assert artifact["variant"] == "onnxruntime-fp32"
    assert artifact["time"] == "2026-11-01T12:01:00Z"


def test_it_is_available_when_every_target_has_one(make_world: MakeWorld) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.run(("a",))
    assert "ArtifactAvailable" not in {c["type"] for c in world.status["conditions"]}
    world.measure(("b",))
    assert world.condition("ArtifactAvailable")["message"].startswith("a: openvino-bf16 (")
    world.edit(targets=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    world.settle()
    assert "ArtifactAvailable" not in {c["type"] for c in world.status["conditions"]}
    assert [t["artifact"]["variant"] for t in world.status["targets"]] == ["openvino-bf16"] * 2


def test_result_of_an_earlier_run_is_used_again_by_a_spec_that_asks_for_it(
    world: World, messages: Messages
) -> None:
    world.run()
    model = world.raw["spec"]["model"]
    world.edit(model=model | {"sha256": "b" * 64})
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.terminated_pod(job, messages.error(Reason.DIGEST_MISMATCH, "another file"), exit_code=67)
    world.end(job, "Failed", "PodFailurePolicy")
    world.settle()
    world.edit(model=model)
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert "fromEarlierRun" not in world.status["targets"][0]


def test_model_file_of_an_earlier_run_is_known_when_it_is_asked_for_again(
    world: World, messages: Messages
) -> None:
    world.run()
    model, source = world.raw["spec"]["model"], world.status["source"]
    world.edit(model=model | {"sha256": "b" * 64})
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare("b" * 64))
    world.settle()
    (target,) = world.status["targets"]
    assert (target["fromEarlierRun"], target["source"]) == (True, source)
    assert world.status["source"]["sha256"] == "b" * 64
    world.edit(model=model)
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["source"] == source
    assert "source" not in world.status["targets"][0]
