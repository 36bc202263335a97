"""Pods and Jobs that end without a result, and the reason that each becomes."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.failures import MAX_DISRUPTIONS

RETRYING = "Reconciling"
ENDED = "Stalled"
FULL = {
    "reason": "Evicted",
    "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
}
ENDINGS: list[tuple[str, int, str, dict[str, Any], Reason, str]] = [
    ("message", 67, "", {}, Reason.DIGEST_MISMATCH, "sha256 is 11, not 22"),
    ("message", 80, "", {}, Reason.STORE_UNREACHABLE, "no answer from store:9000"),
    ("", 137, "OOMKilled", {}, Reason.OUT_OF_MEMORY, "exceeded its memory limit"),
    ("log text", 137, "OOMKilled", {}, Reason.OUT_OF_MEMORY, "exceeded its memory limit"),
    ("Traceback: x\n" * 50, 1, "Error", {}, Reason.JOB_FAILED, "code 1: Traceback: x Traceback"),
    ("mopt1:damaged", 1, "Error", {}, Reason.JOB_FAILED, "code 1: mopt1:damaged"),
    ("", 128, "StartError", {}, Reason.JOB_FAILED, "code 128: StartError"),
    # Of a Pod that exceeds a limit of its own: no disruption, and 137 says nothing.
    ("log text", 137, "Error", FULL, Reason.JOB_FAILED, "was evicted: Pod ephemeral local storage"),
]


@pytest.mark.parametrize(("text", "code", "ended", "status", "reason", "words"), ENDINGS)
@pytest.mark.parametrize("last", [False, True])
def test_failed_pod_gives_its_reason_while_retried_and_when_it_was_the_last(
    world: World,
    messages: Messages,
    text: str,
    code: int,
    ended: str,
    status: dict[str, Any],
    reason: Reason,
    words: str,
    last: bool,
) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    message = messages.error(reason, words) if text == "message" else text
    world.terminated_pod(job, message, exit_code=code, reason=ended, status=status)
    if last:
        world.end(job, "Failed", "BackoffLimitExceeded", "too many")
    world.settle()
    kind, work = (ENDED, reason) if last else (RETRYING, "Preparing")
    assert world.said() == {"Ready": ("False", reason), kind: ("True", work)}
    said = world.condition("Ready")["message"]
    assert words in said
    assert said.endswith(REASONS[reason].remedy)
    assert len(said) < 500


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.MEASURE])
def test_pod_that_the_kubelet_ended_at_its_deadline_is_not_tried_again(
    world: World, messages: Messages, stage: Stage
) -> None:
    world.settle()
    if stage is Stage.MEASURE:
        world.complete(world.the_job(Stage.PREPARE), messages.prepare())
        world.settle()
    job = world.the_job(stage, None if stage is Stage.PREPARE else "default")
    late = {"reason": "DeadlineExceeded"}
    world.terminated_pod(job, "", exit_code=143, reason="Error", status=late)
    world.pod(job, {"phase": "Pending"})  # The Job controller is quick.
    world.settle()
    reason = "DeadlineExceeded"
    assert world.said() == {"Ready": ("False", reason), "Stalled": ("True", reason)}
    assert "exceeded its deadline" in world.condition("Ready")["message"]
    assert job["metadata"]["name"] not in world.jobs
    assert world.decide() == Plan()


def test_memory_limit_that_a_pod_exceeded_is_named(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    pod = world.terminated_pod(job, "", exit_code=137, reason="OOMKilled")
    limits = {"limits": {"memory": "6Gi"}}
    pod["spec"] = {"containers": [{"name": "optimizer", "resources": limits}]}
    world.end(job, "Failed", "PodFailurePolicy", "exit code 137")
    world.settle()
    assert world.said() == {"Ready": ("False", "OutOfMemory"), "Stalled": ("True", "OutOfMemory")}
    assert "exceeded its memory limit of 6Gi." in world.condition("Ready")["message"]


def test_failed_run_keeps_where_it_failed_and_is_final(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.terminated_pod(job, "x", exit_code=1)
    world.end(job, "Failed", "BackoffLimitExceeded", "")
    world.settle()
    assert world.status["progress"]["stage"] == "Prepare"
    world.lose_all_jobs()
    assert world.decide().create == ()


def test_retry_at_work_says_what_the_attempt_before_met(world: World, messages: Messages) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    told = messages.error(Reason.STORE_UNREACHABLE, "no answer")
    world.terminated_pod(job, told, exit_code=80)
    world.pod(job, {"phase": "Running"})
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert "Attempt 2, after: no answer." in world.condition("Ready")["message"]


def test_disrupted_pod_is_no_failure(world: World) -> None:
    world.settle()
    told = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    job = world.the_job(Stage.PREPARE)
    world.terminated_pod(job, "", exit_code=143, status={"conditions": [told]})
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")


def test_job_whose_pods_are_evicted_again_and_again_is_given_up(world: World) -> None:
    world.settle()
    told = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    evicted = {"phase": "Failed", "reason": "Evicted", "conditions": [told]}
    job = world.the_job(Stage.PREPARE)
    for _ in range(MAX_DISRUPTIONS):
        world.pod(job, evicted | {"message": "The node was low on resource: ephemeral-storage."})
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    world.pod(job, evicted | {"message": "The node was low on resource: memory."})
    world.settle()
    assert world.said() == {"Ready": ("False", "Disrupted"), "Stalled": ("True", "Disrupted")}
    assert "6 Pods" in world.condition("Ready")["message"]
    assert "low on resource: memory" in world.condition("Ready")["message"]
    # The Job controller would start the next one.
    assert world.jobs == {}


def test_failed_job_without_pods_says_the_job_s_words(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.end(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    world.settle()
    assert world.said()["Stalled"] == ("True", "JobFailed")
    assert "reached the specified backoff limit" in world.condition("Ready")["message"]


@pytest.mark.parametrize("message", ["", "no prefix", "of-measure", "of-another-target"])
def test_success_without_a_fitting_result_is_a_failure(
    world: World, messages: Messages, message: str
) -> None:
    world.settle()
    text = {"of-measure": messages.measure()}.get(message, message)
    stage, target = Stage.PREPARE, None
    if message == "of-another-target":
        world.complete(world.the_job(Stage.PREPARE), messages.prepare())
        world.settle()
        text, stage, target = messages.measure("other"), Stage.MEASURE, "default"
    world.complete(world.the_job(stage, target), text)
    world.settle()
    assert world.said()["Stalled"] == ("True", "JobFailed")
    assert "completed without a result" in world.condition("Ready")["message"]


def test_job_that_finds_no_gpu_is_tried_again_and_then_stalls(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "l4"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "l4")
    code = REASONS[Reason.ACCELERATOR_NOT_FOUND].exit_code
    assert code is not None
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert code not in rules[1]["onExitCodes"]["values"]
    told = messages.error(Reason.ACCELERATOR_NOT_FOUND, "the driver shows no GPU")
    world.terminated_pod(job, told, exit_code=code)
    world.settle()
    assert world.said() == {
        "Ready": ("False", "AcceleratorNotFound"),
        "Reconciling": ("True", "Measuring"),
    }
    world.end(job, "Failed", "BackoffLimitExceeded", "too many")
    world.settle()
    assert world.said() == {
        "Ready": ("False", "AcceleratorNotFound"),
        "Stalled": ("True", "AcceleratorNotFound"),
    }
    said = world.condition("Ready")["message"]
    assert said.startswith("Target l4: the driver shows no GPU. ")
