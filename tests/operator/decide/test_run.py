"""From a new resource to Ready: each plan is compared whole."""

from __future__ import annotations

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import Plan


def test_new_resource_gets_one_prepare_job_and_says_so(world: World) -> None:
    plan = world.decide()
    (job,) = plan.create
    assert job["metadata"]["labels"]["mopt.dev/stage"] == "prepare"
    condition = {
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-01T12:00:00Z",
        "reason": "Preparing",
        "message": "Exporting, verifying and quantizing the model",
    }
    assert plan == Plan(
        create=(job,),
        status={
            "observedGeneration": 1,
            "conditions": [
                {"type": "Ready", "status": "Unknown", **condition},
                {"type": "Reconciling", "status": "True", **condition},
            ],
            "progress": {"stage": "Prepare", "targetsDone": 0, "targetsTotal": 1},
            "summary": {"targets": "0/1"},
            "targets": [],
            "history": [],
        },
    )


def test_prepared_model_is_measured_from_the_digest_returned(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "default")
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    plan = next(v["value"] for v in environment if v["name"] == "MOPT_PLAN")
    prepared = job["metadata"]["annotations"]["mopt.dev/prepared"]
    assert f'"prepared":"{prepared}"' in plan
    assert world.said() == {
        "Ready": ("Unknown", "Measuring"),
        "Reconciling": ("True", "Measuring"),
    }
    assert world.status["source"]["parameters"] == 1_200_000
    assert len(world.jobs) == 2


def test_finished_run_is_ready_with_the_whole_table(world: World) -> None:
    world.run()
    ready = world.condition("Ready")
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert ready["message"] == (
        "default: openvino-bf16, 4.9x over PyTorch FP32 eager, 2.0x over the fastest FP32, "
        "PSNR 58.34 dB"
    )
    assert world.status["summary"] == {
        "selected": "openvino-bf16",
        "speedup": "4.9x",
        "quality": "PSNR 58.34 dB",
        "size": "2.5 MB",
        "targets": "1/1",
    }
    assert "progress" not in world.status
    (target,) = world.status["targets"]
    assert target["selected"] == "openvino-bf16"
    assert target["report"]["uri"] == (
        "s3://optimized/sr/blobs/sha256/" + target["report"]["digest"].removeprefix("sha256:")
    )
    baseline = target["baseline"]
    assert baseline["artifact"]["uri"] == "s3://models/sr.pt2"
    assert baseline["artifact"]["digest"] == f"sha256:{world.raw['spec']['model']['sha256']}"
    assert baseline["sizeReductionPercent"] == 0
    chosen = target["variants"][1]
    assert chosen["artifact"]["uri"] == (
        "s3://optimized/sr/blobs/sha256/" + chosen["artifact"]["digest"].removeprefix("sha256:")
    )
    assert chosen["sizeReductionPercent"] == 50
    assert chosen["speedupOverFastestFP32"] == pytest.approx(1.96)
    rejected = target["variants"][2]
    assert (rejected["state"], rejected["reason"]) == ("Rejected", "QualityGate")
    assert rejected["quality"][0]["worst"] == 39.5


def test_a_run_writes_status_three_times(world: World) -> None:
    world.run()
    assert world.status_writes == 3


def test_result_of_the_last_job_is_recorded_before_it_may_expire(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), messages.measure())
    plan = world.decide()
    assert plan.status is not None
    assert plan.expire == ()
    world.carry_out(plan)
    assert sorted(job.name for job in world.decide().expire) == sorted(world.jobs)


def test_kept_baseline_is_ready(world: World) -> None:
    world.run(selected="baseline")
    assert world.said() == {"Ready": ("True", "BaselineKept")}
    assert world.status["summary"]["selected"] == "baseline"
    assert world.status["summary"]["size"] == "4.9 MB"


def test_no_winner_stalls_and_says_what_every_variant_lacked(world: World) -> None:
    world.run(selected=None)
    assert world.said() == {
        "Ready": ("False", "NoVariantPassed"),
        "Stalled": ("True", "NoVariantPassed"),
    }
    message = world.condition("Ready")["message"]
    assert "worst PSNR 39.50 is below 40" in message
    assert "onNoWinner" in message


def test_finished_run_needs_no_job_whatever_happens_to_them(
    world: World, settings: Settings
) -> None:
    world.run()
    world.lose_all_jobs()
    world.sleep(1e6)
    world.settings = settings.model_copy(update={"optimizer_image": "mopt/optimizer:newer"})
    world.settle()
    assert world.jobs == {}
    assert world.said()["Ready"] == ("True", "Optimized")


def test_targets_are_measured_side_by_side(make_world: MakeWorld, messages: Messages) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    assert len(world.jobs) == 3
    world.complete(world.the_job(Stage.MEASURE, "b"), messages.measure("b"))
    world.settle()
    assert world.status["progress"]["targetsDone"] == 1
    assert world.status["summary"]["targets"] == "1/2"
    assert [t["name"] for t in world.status["targets"]] == ["b"]
    world.complete(world.the_job(Stage.MEASURE, "a"), messages.measure("a"))
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert [t["name"] for t in world.status["targets"]] == ["a", "b"]


def test_one_failing_target_lets_the_other_finish_and_is_named(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "a")
    world.terminated_pod(job, "", exit_code=137, reason="OOMKilled")
    world.end(job, "Failed", "BackoffLimitExceeded", "")
    world.settle()
    assert world.said() == {
        "Ready": ("False", "OutOfMemory"),
        "Reconciling": ("True", "Measuring"),
    }
    world.complete(world.the_job(Stage.MEASURE, "b"), messages.measure("b"))
    world.settle()
    assert world.said() == {"Ready": ("False", "OutOfMemory"), "Stalled": ("True", "OutOfMemory")}
    assert world.condition("Ready")["message"].startswith("Target a: ")
    assert [t["name"] for t in world.status["targets"]] == ["b"]
    world.lose_all_jobs()
    assert world.decide() == Plan()


def test_deleted_resource_is_left_alone(world: World) -> None:
    world.settle()
    world.raw["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:01Z"
    world.lose_all_jobs()
    assert world.decide() == Plan()
