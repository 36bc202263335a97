"""Pods that do not start: what they wait for, and the reason that each becomes."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import Messages
from operator_world import START, MakeWorld, World
from pod_states import unschedulable, waiting

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.decide.failures import Problem, start_problem
from mopt_operator.objects import Pod


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
