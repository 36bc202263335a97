"""Why a Job makes no progress, from the states of the Job and its Pods. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from mopt_api.jobs.plan import CREDENTIAL_KEYS
from mopt_api.jobs.termination import ErrorSummary, MessageError, decode
from mopt_api.reasons import ErrorReport, Reason
from mopt_api.text import one_line
from mopt_operator.objects import Job, Pod

# Evictions of a Job's Pods after which the Job still goes on.
MAX_DISRUPTIONS = 5
QUOTED = 200  # characters of a message from elsewhere
_PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_START_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_AGAIN = "It is tried again within two minutes"
# In the scheduler's message where a device plugin's resource, DOMAIN/NAME, is lacking.
_NO_DEVICE = re.compile(r"Insufficient [a-z0-9.-]+/[A-Za-z0-9._-]+")
_CLAIM = re.compile("persistentvolumeclaim", re.IGNORECASE)
_COUNT = re.compile(r"^\d+ ")


@dataclass(frozen=True)
class Problem:
    """A reason, and a message for people."""

    reason: Reason
    message: str


def problem(reason: Reason, message: str) -> Problem:
    """Return a problem whose message says what to do about it."""
    report = ErrorReport(reason=reason, message=message)
    return Problem(reason, report.sentence())


def _quote(text: str) -> str:
    """Return the start of a message from elsewhere, on one line."""
    return one_line(text, QUOTED)


def start_problem(pod: Pod) -> Problem | None:
    """Return why a Pod has not started, or None where nothing is known to be wrong."""
    if pod.finished:
        return None
    if pod.unschedulable is not None:
        why = _quote(_without_counts(pod.unschedulable))
        if _CLAIM.search(pod.unschedulable):
            message = f"A claim that the Pod mounts cannot be used: {why}"
            todo = f"Create it in namespace {pod.namespace}, or see why it is not Bound"
            return Problem(Reason.UNSCHEDULABLE, f"{message}. {todo}")
        message = f"No node can run the Pod: {why}"
        no_device = _NO_DEVICE.search(pod.unschedulable)
        reason = Reason.ACCELERATOR_NOT_FOUND if no_device else Reason.UNSCHEDULABLE
        return problem(reason, message)
    if pod.waiting is None:
        return None
    waiting, message = pod.waiting
    if waiting in _PULL_REASONS:
        # The kubelet alternates between this error and "Back-off ...: ErrImagePull: this error".
        cause = message.rpartition("ErrImagePull: ")[2] or waiting
        return problem(Reason.IMAGE_PULL_FAILED, f"The image cannot be pulled: {_quote(cause)}")
    if waiting == "CreateContainerConfigError" and "secret" in message.lower():
        keys = " and ".join(key for key, required in CREDENTIAL_KEYS.items() if required)
        return problem(
            Reason.SECRET_NOT_FOUND,
            f"{_quote(message)} (namespace {pod.namespace}; required keys: {keys})",
        )
    if waiting in _START_REASONS:
        return problem(Reason.JOB_FAILED, f"The container cannot start: {_quote(message)}")
    return None


def _without_counts(message: str) -> str:
    """Return what the scheduler says, without how many nodes lack what.

    That changes whenever any Pod comes or goes, and each change would be a write to each resource
    that waits for a node.
    """
    _, known, why = message.partition(" nodes are available: ")
    if not known:
        return message
    why = why.partition(". preemption:")[0].rstrip(". ")
    return ", ".join(sorted({_COUNT.sub("", one) for one in re.split(r", (?=\d+ )", why)}))


def slow_problem(pod: Pod) -> Problem:
    """Return what to say of a Pod that has not started for a while, for no known reason."""
    where = f" on node {pod.node}" if pod.node else ""
    state = pod.waiting[0] if pod.waiting and pod.waiting[0] else "Pending"
    message = f"Pod {pod.name} has not started{where} ({one_line(state, QUOTED)})"
    return Problem(Reason.PENDING, f"{message}: see its Events")


def no_pod_problem(job: Job) -> Problem:
    """Return what to say of a Job that has had no Pod for a while, for no known reason."""
    return Problem(Reason.PENDING, f"Job {job.name} has no Pod: see its Events")


def queue_problem(job: Job, message: str) -> Problem:
    """Return what to say of a Job whose queue admits nothing, in Kueue's words."""
    where = f"{_quote(message).rstrip('.')}: correct spec.execution.queueName or the target's"
    return Problem(Reason.QUEUED, f"Kueue holds Job {job.name}: {where}, or the queue")


def end_problem(pod: Pod) -> Problem | None:
    """Return why a Pod failed, or None where it has not."""
    if pod.phase != "Failed":
        return None
    if pod.exceeded_deadline:
        return problem(Reason.DEADLINE_EXCEEDED, f"Pod {pod.name} exceeded its deadline")
    ended = pod.terminated
    if ended is None:
        cause = _quote(pod.message) or pod.reason or "no container state"
        return problem(Reason.JOB_FAILED, f"Pod {pod.name} failed: {cause}")
    # Before the message: an OOM kill leaves log text there.
    if ended.reason == "OOMKilled":
        limit = f" of {pod.memory_limit}" if pod.memory_limit else ""
        return problem(Reason.OUT_OF_MEMORY, f"Pod {pod.name} exceeded its memory limit{limit}")
    try:
        summary = decode(ended.message)
    except MessageError:
        # By its node, for a limit of its own, such as that of its disk.
        if pod.reason == "Evicted" and pod.message:
            return problem(Reason.JOB_FAILED, f"Pod {pod.name} was evicted: {_quote(pod.message)}")
        cause = _quote(ended.message) or ended.reason
        return problem(
            Reason.JOB_FAILED, f"Pod {pod.name} exited with code {ended.exit_code}: {cause}"
        )
    if isinstance(summary, ErrorSummary):
        return Problem(summary.error.reason, summary.error.sentence())
    return problem(
        Reason.JOB_FAILED,
        f"Pod {pod.name} exited with code {ended.exit_code} after its result",
    )


def final_problem(pods: list[Pod]) -> Problem | None:
    """Return why a Job is given up that the Job controller would try again; None where it is not.

    Args:
        pods: The Job's, oldest first.
    """
    late = next((pod for pod in pods if pod.exceeded_deadline), None)
    return end_problem(late) if late else _disruption_problem(pods)


def _disruption_problem(pods: list[Pod]) -> Problem | None:
    """Return why a Job whose Pods are evicted again and again is given up; None where it is not.

    The Job controller does not count them (podFailurePolicy), and a node that is short of disk or
    memory evicts the next one too. Those of a drained node are deleted and not among these.

    Args:
        pods: The Job's, oldest first.
    """
    ended = [pod for pod in pods if pod.phase == "Failed" and pod.disrupted]
    if len(ended) <= MAX_DISRUPTIONS:
        return None
    last = ended[-1]
    cause = _quote(last.message) or last.reason or "no reason is given"
    return problem(
        Reason.DISRUPTED, f"{len(ended)} Pods were evicted or preempted, the last one: {cause}"
    )


def lost_seconds(pod: Pod, now: datetime) -> float | None:
    """Return for how long a Pod should have been gone; None where it is not being deleted.

    A kubelet that runs ends a Pod within its grace period. One whose node is lost stays, and the
    Job controller makes no other in its place (podReplacementPolicy Failed).
    """
    return (now - pod.ends).total_seconds() if pod.ends and not pod.finished else None


def node_problem(pod: Pod) -> Problem:
    """Return why a Pod that should have been gone is still there."""
    return problem(
        Reason.NODE_LOST,
        f"Pod {pod.name} should have ended at {pod.ends:%H:%M:%S} UTC: node {pod.node} does not "
        "answer",
    )


def job_problem(job: Job, pods: list[Pod]) -> Problem:
    """Return why a Job failed permanently.

    Args:
        job: Its failed is set.
        pods: The Job's, oldest first.
    """
    for pod in reversed(pods):
        if wrong := end_problem(pod):
            return wrong
    reason, message = job.failed or ("", "")
    return problem(Reason.JOB_FAILED, f"Job {job.name} failed, {reason}: {_quote(message)}")


def admission_problem(status: int, message: str) -> Problem:
    """Return why the API server rejected a Job.

    Args:
        status: HTTP status; 400 and 422 mean that the Job itself is invalid.
        message: The API server's.
    """
    if status != 403:
        return problem(Reason.INVALID_SPEC, f"The API server rejects the Job: {_quote(message)}")
    text = f"The API server rejects the Job: {_quote(message)}. {_AGAIN}"
    return problem(Reason.POD_FORBIDDEN, text)


def overload_text(message: str) -> str:
    """Return why a Job waits that the API server has no time for."""
    return f"The API server takes no Job now: {_quote(message)}. {_AGAIN}"


def creation_problem(job: Job, message: str) -> Problem:
    """Return why the Job controller may not create a Pod, as the API server says.

    Each try names another Pod, JOB-xxxxx; the suffix is left out, for a message that stays.
    """
    stable = re.sub(rf"({re.escape(job.name)})-[a-z0-9]{{5}}\b", r"\1", message)
    return problem(Reason.POD_FORBIDDEN, _quote(stable))
