"""States of Jobs and Pods, and the reason that each becomes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from job_messages import Messages
from operator_world import START, MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.failures import MAX_DISRUPTIONS, Problem, start_problem
from mopt_operator.decide.track import LOST_SECONDS
from mopt_operator.objects import Pod

RETRYING = "Reconciling"
ENDED = "Stalled"


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": "optimizer", "state": state}],
    }


def unschedulable(message: str) -> dict[str, Any]:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    return {"phase": "Pending", "conditions": [condition]}


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            waiting("CreateContainerConfigError", 'secret "store" not found'),
            "SecretNotFound",
            'secret "store" not found (namespace team; required keys: AWS_ACCESS_KEY_ID and '
            "AWS_SECRET_ACCESS_KEY)",
        ),
        (
            waiting(
                "CreateContainerConfigError",
                "couldn't find key AWS_SECRET_ACCESS_KEY in Secret team/store",
            ),
            "SecretNotFound",
            "couldn't find key AWS_SECRET_ACCESS_KEY in Secret team/store",
        ),
        (
            waiting("CreateContainerConfigError", "container has runAsNonRoot and image is root"),
            "JobFailed",
            "cannot start: container has runAsNonRoot",
        ),
        (waiting("ErrImagePull", "manifest unknown"), "ImagePullFailed", "manifest unknown"),
        (waiting("ImagePullBackOff", "back-off pulling"), "ImagePullFailed", "back-off pulling"),
        (waiting("InvalidImageName", "bad reference"), "ImagePullFailed", "bad reference"),
        (waiting("ErrImageNeverPull", "not present"), "ImagePullFailed", "not present"),
        (waiting("RunContainerError", "no such file"), "JobFailed", "no such file"),
        (
            unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
            "AcceleratorNotFound",
            "No node can run the Pod: Insufficient nvidia.com/gpu",
        ),
        (
            unschedulable("0/3 nodes are available: 3 Insufficient memory."),
            "Unschedulable",
            "No node can run the Pod: Insufficient memory",
        ),
    ],
)
def test_pod_that_does_not_start_is_explained_and_waited_for(
    world: World, pod: dict[str, Any], reason: str, words: str
) -> None:
    world.settle()
    world.pod(world.the_job(Stage.PREPARE), pod)
    world.settle()
    assert world.said() == {"Ready": ("False", reason), "Reconciling": ("True", "Preparing")}
    message = world.condition("Ready")["message"]
    assert words in message
    assert REASONS[Reason(reason)].remedy in message


@pytest.mark.parametrize(
    "pod",
    [
        waiting("ContainerCreating", ""),
        waiting("PodInitializing", ""),
        {"phase": "Pending"},
        {
            "phase": "Running",
            "containerStatuses": [{"name": "optimizer", "state": {"running": {}}}],
        },
    ],
)
def test_pod_on_its_way_is_no_problem(world: World, pod: dict[str, Any]) -> None:
    world.settle()
    world.pod(world.the_job(Stage.PREPARE), pod)
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")


def test_anti_affinity_of_others_is_told_in_the_scheduler_s_words(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    words = "node(s) didn't satisfy existing pods anti-affinity rules"
    said = f"0/1 nodes are available: 1 {words}."
    world.pod(world.the_job(Stage.MEASURE, "default"), unschedulable(said))
    world.settle()
    assert world.said() == {
        "Ready": ("False", "Unschedulable"),
        "Reconciling": ("True", "Measuring"),
    }
    assert words in world.condition("Ready")["message"]


def test_number_of_nodes_that_lack_something_is_not_told() -> None:
    def told(message: str) -> str:
        pod = Pod("team", "p", "uid", "1", "sr", "job", START, "Pending", unschedulable=message)
        found = start_problem(pod)
        assert found is not None
        return found.message

    gone = "preemption: 0/9 nodes are available: 9 No preemption victims found for incoming pod."
    first = told(
        f"0/9 nodes are available: 2 Insufficient cpu, 7 node(s) had taint {{a: b}}. {gone}"
    )
    later = told("0/12 nodes are available: 12 node(s) had taint {a: b}, 5 Insufficient cpu.")
    assert first == later
    assert first.startswith("No node can run the Pod: Insufficient cpu, node(s) had taint {a: b}")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            '0/1 nodes are available: persistentvolumeclaim "models" not found. not found',
            'persistentvolumeclaim "models" not found. not found',
        ),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            "pod has unbound immediate PersistentVolumeClaims. not found",
        ),
    ],
)
def test_a_claim_that_is_not_there_is_no_lack_of_nodes(said: str, why: str) -> None:
    pod = Pod("team", "p", "uid", "1", "sr", "job", START, "Pending", unschedulable=said)
    assert start_problem(pod) == Problem(
        Reason.UNSCHEDULABLE,
        f"A claim that the Pod mounts cannot be used: {why}. Create it in namespace team, or see "
        "why it is not Bound",
    )


def test_measurement_without_a_slot_waits_without_a_job(world: World, messages: Messages) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    (made,) = world.decide().create
    words = "Waiting for a slot: profile default runs 1 measurement at once"
    world.waits = {made["metadata"]["name"]: words}
    assert world.settle().requeue_after is None
    assert world.stages() == ["prepare"]
    assert world.said() == {
        "Ready": ("Unknown", "WaitingForSlot"),
        "Reconciling": ("True", "Measuring"),
    }
    assert world.condition("Ready")["message"] == words
    world.waits = {}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")


def test_target_that_waits_for_a_slot_is_told_beside_one_that_measures(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    _, second = (made["metadata"]["name"] for made in world.decide().create)
    world.waits = {second: "Waiting for a slot"}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")
    message = world.condition("Ready")["message"]
    assert message.startswith("0 of 2 targets measured")
    assert message.endswith(". Waiting for a slot")


def test_job_that_shares_its_node_with_a_measurement_is_made_again(
    world: World, messages: Messages
) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "default")["metadata"]
    world.crowded = {job["uid"]: "node-1"}
    plan = world.decide()
    assert [gone.name for gone in plan.delete] == [job["name"]]
    assert plan.create == ()
    world.carry_out(plan)
    assert world.said()["Ready"] == ("Unknown", "WaitingForSlot")
    assert "node-1" in world.condition("Ready")["message"]
    world.crowded = {}
    world.settle()
    assert world.the_job(Stage.MEASURE, "default")["metadata"]["name"] == job["name"]


def test_busy_api_server_is_waited_for(world: World) -> None:
    name = world.decide().create[0]["metadata"]["name"]
    world.refusals = {name: (429, "too many requests, please try again later")}
    plan = world.decide()
    assert plan.create == ()
    world.carry_out(plan)
    assert world.said() == {
        "Ready": ("Unknown", "WaitingForSlot"),
        "Reconciling": ("True", "Preparing"),
    }
    assert "please try again later" in world.condition("Ready")["message"]


def test_job_without_a_pod_says_the_api_server_s_words(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    words = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    world.warnings = {job["metadata"]["uid"]: words}
    world.sleep(5)
    assert world.settle().requeue_after is not None
    assert world.said() == {
        "Ready": ("False", "PodForbidden"),
        "Reconciling": ("True", "Preparing"),
    }
    assert words in world.condition("Ready")["message"]


def test_each_try_to_create_a_pod_says_the_same(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)["metadata"]
    world.sleep(5)
    said = set()
    for suffix in ("abcde", "z2x9q"):
        words = f'Error creating: pods "{job["name"]}-{suffix}" is forbidden: exceeded quota'
        world.warnings = {job["uid"]: words}
        world.settle()
        said.add(world.condition("Ready")["message"])
    (message,) = said
    assert f'pods "{job["name"]}" is forbidden: exceeded quota' in message


def test_kubelet_s_two_words_for_a_missing_image_are_one_message(world: World) -> None:
    world.settle()
    pod = world.pod(world.the_job(Stage.PREPARE), waiting("ErrImagePull", "i: not found"))
    world.settle()
    writes = world.status_writes
    text = 'Back-off pulling image "i": ErrImagePull: i: not found'
    pod["status"] = waiting("ImagePullBackOff", text)
    world.settle()
    assert world.status_writes == writes


def test_pod_that_heals_clears_the_reason(world: World) -> None:
    world.settle()
    pod = world.pod(world.the_job(Stage.PREPARE), waiting("ErrImagePull", "manifest unknown"))
    world.settle()
    world.sleep(5)
    pod["status"] = {"phase": "Running"}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert world.condition("Ready")["lastTransitionTime"] == "2026-11-01T12:00:05Z"
    assert world.condition("Reconciling")["lastTransitionTime"] == "2026-11-01T12:00:00Z"


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


def test_what_is_wrong_for_good_is_told_before_what_may_pass(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    world.pod(world.the_job(Stage.MEASURE, "a"), unschedulable("no node"))
    job = world.the_job(Stage.MEASURE, "b")
    world.terminated_pod(job, "", exit_code=137, reason="OOMKilled")
    world.end(job, "Failed", "BackoffLimitExceeded", "")
    world.settle()
    assert world.said() == {
        "Ready": ("False", "OutOfMemory"),
        "Reconciling": ("True", "Measuring"),
    }


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


def losing_its_node(world: World, stage: Stage) -> dict[str, Any]:
    """Let the node under a running Pod be lost, and the Pod be deleted with 30 s of grace."""
    pod = world.pod(world.the_job(stage, TARGETS[stage]), {"phase": "Running"})
    pod["spec"] = {"nodeName": "node-7"}
    pod["metadata"]["deletionTimestamp"] = (world.now + timedelta(seconds=30)).isoformat()
    return pod


TARGETS = {Stage.PREPARE: None, Stage.MEASURE: "default"}


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.MEASURE])
def test_pod_of_a_lost_node_is_named_and_its_work_begun_anew(
    world: World, messages: Messages, stage: Stage
) -> None:
    world.settle()
    if stage is Stage.MEASURE:
        world.complete(world.the_job(Stage.PREPARE), messages.prepare())
        world.settle()
    losing_its_node(world, stage)
    plan = world.settle()
    assert world.said()["Ready"][0] == "Unknown"
    assert plan.requeue_after == 30 + LOST_SECONDS
    world.sleep(plan.requeue_after)
    plan = world.settle()
    assert world.said()["Ready"] == ("False", "NodeLost")
    assert world.said()["Reconciling"][0] == "True"
    assert "node node-7 does not answer" in world.condition("Ready")["message"]
    old = {job["metadata"]["uid"] for job in world.jobs.values()}
    assert plan.requeue_after is not None
    world.sleep(plan.requeue_after)
    world.settle()
    new = world.the_job(stage, TARGETS[stage])
    assert new["metadata"]["uid"] not in old
    assert world.said()["Ready"][0] == "Unknown"
    if stage is Stage.PREPARE:
        world.complete(new, messages.prepare())
        world.settle()
    world.measure()
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_pod_that_ends_in_its_grace_period_is_not_lost(world: World, messages: Messages) -> None:
    world.settle()
    pod = losing_its_node(world, Stage.PREPARE)
    world.settle()
    world.sleep(29)
    ended = {"exitCode": 0, "reason": "", "message": messages.prepare()}
    states = [{"name": "optimizer", "state": {"terminated": ended}}]
    pod["status"] = {"phase": "Succeeded", "containerStatuses": states}
    world.end(world.the_job(Stage.PREPARE), "Complete")
    world.sleep(3600)
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")
