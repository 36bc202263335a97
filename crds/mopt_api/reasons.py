"""Why a resource is not Ready: stable reasons, what each means to a Job and to its user."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field, field_validator

from .base import ObservedModel
from .text import one_line

MAX_MESSAGE = 1024


class Reason(StrEnum):
    """Reasons of all conditions."""

    # Ready=True
    OPTIMIZED = "Optimized"
    BASELINE_KEPT = "BaselineKept"
    BUILT = "Built"
    # Reconciling
    PENDING = "Pending"
    WAITING_FOR_SLOT = "WaitingForSlot"
    PREPARING = "Preparing"
    MEASURING = "Measuring"
    VERIFYING = "Verifying"
    SELECTING = "Selecting"
    QUEUED = "Queued"
    # No work is pending; Ready where there is something to serve, else Stalled
    SUSPENDED = "Suspended"
    # Outdated=True; of several the first
    KNOWN_BAD_VERSION = "KnownBadVersion"
    MODEL_CHANGED = "ModelChanged"
    GATES_CHANGED = "GatesChanged"
    OLDER_OPTIMIZER = "OlderOptimizer"
    RUNTIME_CHANGED = "RuntimeChanged"
    DATA_CHANGED = "DataChanged"
    HARDWARE_CHANGED = "HardwareChanged"
    RESOURCES_CHANGED = "ResourcesChanged"
    # ArtifactAvailable=True
    SELECTED = "Selected"
    # ArtifactAvailable=False
    WITHDRAWN = "Withdrawn"
    # Published=True, and False while that is not over
    PUBLISHED = "Published"
    PUBLISHING = "Publishing"
    AWAITING_APPROVAL = "AwaitingApproval"
    NOTHING_SELECTED = "NothingSelected"
    # Ready=False: the work ended without a result that may be used
    NO_VARIANT_PASSED = "NoVariantPassed"
    BASELINE_REJECTED = "BaselineRejected"
    CONSTRAINTS_MISSED = "ConstraintsMissed"
    NO_ENGINE_BUILT = "NoEngineBuilt"
    # Found by a Job
    INVALID_SPEC = "InvalidSpec"
    INVALID_MODEL = "InvalidModel"
    UNSAFE_MODEL = "UnsafeModel"
    DIGEST_MISMATCH = "DigestMismatch"
    INVALID_DIMENSION = "InvalidDimension"
    INVALID_DATA = "InvalidData"
    OBJECT_NOT_FOUND = "ObjectNotFound"
    STORE_ACCESS_DENIED = "StoreAccessDenied"
    STORE_UNREACHABLE = "StoreUnreachable"
    EXPORT_FAILED = "ExportFailed"
    BASELINE_FAILED = "BaselineFailed"
    OUT_OF_DISK = "OutOfDisk"
    INTERNAL_ERROR = "InternalError"
    SANDBOX_UNAVAILABLE = "SandboxUnavailable"
    # Published=False: found by a Job that publishes
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    REGISTRY_ACCESS_DENIED = "RegistryAccessDenied"
    REGISTRY_REFUSED = "RegistryRefused"
    INVALID_SIGNING_KEY = "InvalidSigningKey"
    # Found by a Job, and by the operator in the scheduler's message
    ACCELERATOR_NOT_FOUND = "AcceleratorNotFound"
    # Found by the operator in Job and Pod states
    SECRET_NOT_FOUND = "SecretNotFound"
    POD_FORBIDDEN = "PodForbidden"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    OUT_OF_MEMORY = "OutOfMemory"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    DISRUPTED = "Disrupted"
    NODE_LOST = "NodeLost"
    JOB_FAILED = "JobFailed"


@dataclass(frozen=True)
class ReasonInfo:
    """What a reason implies.

    Attributes:
        permanent: The same inputs fail again; only a change helps (Stalled=True).
        cause: What happened.
        remedy: What the user should do, one sentence.
        exit_code: Exit status of a Job's container that ends for this reason; None where only
            the operator finds it. Permanent codes fail the Job at once
            (podFailurePolicy), others are retried up to backoffLimit.
    """

    permanent: bool
    cause: str
    remedy: str
    exit_code: int | None = None


REASONS: dict[Reason, ReasonInfo] = {
    Reason.NO_VARIANT_PASSED: ReasonInfo(
        True,
        "No variant reached minimumSpeedup within the gates, and onNoWinner is Fail",
        "Lower the gates or minimumSpeedup, or set objective.onNoWinner to KeepBaseline.",
    ),
    Reason.BASELINE_REJECTED: ReasonInfo(
        True,
        "Judged by data.evaluation.references, the baseline misses a gate, and no variant won",
        "Lower the gates to what the model reaches, train it further, or correct the references.",
    ),
    Reason.CONSTRAINTS_MISSED: ReasonInfo(
        True,
        "Nothing that may be selected keeps objective.constraints, the baseline neither",
        "Relax the constraint that the message names, or add a target that can keep it.",
    ),
    Reason.NO_ENGINE_BUILT: ReasonInfo(
        True,
        "No engine of a buildOnly target was built, or all of them miss a gate",
        "Lower the gates, or change the variants as each one's message says.",
    ),
    Reason.INVALID_SPEC: ReasonInfo(
        True,
        "A field asks for what is not there, for example an unknown profile or no output",
        "Correct the named field of spec.",
        64,
    ),
    Reason.INVALID_MODEL: ReasonInfo(
        True,
        "The file is damaged or not in the named format",
        "Check that spec.model.format is right and upload a complete file.",
        65,
    ),
    Reason.UNSAFE_MODEL: ReasonInfo(
        True,
        "Opening the file would run code that it carries",
        "Export the model again with torch.export.save, from plain tensors only.",
        66,
    ),
    Reason.DIGEST_MISMATCH: ReasonInfo(
        True,
        "The object's SHA-256 is not spec.model.sha256",
        "Set spec.model.sha256 to that of the intended object, or upload that object again.",
        67,
    ),
    Reason.INVALID_DIMENSION: ReasonInfo(
        True,
        "Inputs, shapes or dimensions that the model does not have or does not accept",
        "Make spec.inputs and spec.dimensions match what the model accepts.",
        68,
    ),
    Reason.INVALID_DATA: ReasonInfo(
        True,
        "A sample is damaged or of the wrong kind, or there are none",
        "Replace or remove the named file of spec.data.",
        69,
    ),
    Reason.OBJECT_NOT_FOUND: ReasonInfo(
        True,
        "A bucket or object does not exist",
        "Upload the object or correct its uri, then set the mopt.dev/requestedAt annotation.",
        70,
    ),
    Reason.STORE_ACCESS_DENIED: ReasonInfo(
        True,
        "The store rejects the credentials",
        "Correct the keys in the Secret or the bucket's policy, then set the "
        "mopt.dev/requestedAt annotation.",
        71,
    ),
    Reason.EXPORT_FAILED: ReasonInfo(
        True,
        "ONNX cannot express the model, or the export computes something else",
        "Make the model exportable: see the named operator or node.",
        72,
    ),
    Reason.BASELINE_FAILED: ReasonInfo(
        True,
        "The source model does not run at the requested sizes",
        "Correct the named sizes in spec.dimensions.",
        73,
    ),
    Reason.STORE_UNREACHABLE: ReasonInfo(
        False,
        "The store does not answer",
        "Check AWS_ENDPOINT_URL in the Secret and that Pods can reach it.",
        80,
    ),
    Reason.OUT_OF_DISK: ReasonInfo(
        False,
        "The Job's scratch volume is full",
        "Give the target's profile a larger scratch volume.",
        81,
    ),
    Reason.INTERNAL_ERROR: ReasonInfo(
        False, "A bug in mopt", "This is a bug in mopt: report it with the Pod's log.", 82
    ),
    Reason.ACCELERATOR_NOT_FOUND: ReasonInfo(
        False,
        "The Job finds no usable GPU; or no node has the GPU that the Pod requests, or none is "
        "free",
        "Wait until a GPU is free, add a node with one, or correct the profile's resources and "
        "runtimeClassName or the node's driver.",
        83,
    ),
    Reason.SANDBOX_UNAVAILABLE: ReasonInfo(
        False,
        "The node's kernel cannot enclose the process that opens the model",
        "Run the Jobs on nodes with Landlock (Linux 5.13 or newer), or allow less: see "
        "docs/security.md.",
        84,
    ),
    Reason.REGISTRY_UNREACHABLE: ReasonInfo(
        False,
        "The registry of spec.publish.oci does not answer, or answers that it cannot now",
        "Check spec.publish.oci.repository and that Pods reach the registry; it is tried again.",
        85,
    ),
    Reason.REGISTRY_ACCESS_DENIED: ReasonInfo(
        False,
        "The registry rejects the credentials, or they may not push there",
        "Correct the Secret that spec.publish.oci.credentialsSecretRef names, or its user's rights "
        "in the repository; it is tried again.",
        86,
    ),
    Reason.REGISTRY_REFUSED: ReasonInfo(
        False,
        "The registry takes no uploads: it is read-only, full, or refuses what is pushed",
        "Make room in the registry, allow uploads, or choose another spec.publish.oci.layout; it "
        "is tried again.",
        87,
    ),
    Reason.INVALID_SIGNING_KEY: ReasonInfo(
        True,
        "The administrator's signing key is no unencrypted PEM key of a supported curve",
        "Put such a key into the Secret that the Helm value publish.signing.secretName names.",
        76,
    ),
    Reason.SECRET_NOT_FOUND: ReasonInfo(
        False,
        "The Secret or one of its keys does not exist; the Pod waits for it",
        "Create the Secret with its keys in the resource's namespace.",
    ),
    Reason.POD_FORBIDDEN: ReasonInfo(
        False,
        "Quota, Pod Security or an admission policy rejects the Pod",
        "Adjust the namespace's policy or quota, or the target's profile.",
    ),
    Reason.IMAGE_PULL_FAILED: ReasonInfo(
        False,
        "The optimizer image cannot be pulled",
        "Check the optimizer image's name and the profile's imagePullSecrets.",
    ),
    Reason.UNSCHEDULABLE: ReasonInfo(
        False,
        "No node has the room or the labels that the Pod requires",
        "Add a node that fits, or lower the target's resources and nodeSelector.",
    ),
    Reason.OUT_OF_MEMORY: ReasonInfo(
        True,
        "The container exceeded its memory limit",
        "Raise the target's memory limit; for preparing, that of the profile default.",
        74,
    ),
    Reason.DEADLINE_EXCEEDED: ReasonInfo(
        True,
        "The Pod ran longer than spec.execution.activeDeadlineSeconds",
        "Raise spec.execution.activeDeadlineSeconds or lower the benchmark's durations.",
        75,
    ),
    Reason.DISRUPTED: ReasonInfo(
        True,
        "The Pod was evicted or preempted repeatedly",
        "Give it more room or a priorityClassName, then set the mopt.dev/requestedAt annotation.",
    ),
    Reason.NODE_LOST: ReasonInfo(
        False,
        "The Pod's node does not answer; after ten minutes another Job is made",
        "Bring the node back, or delete its Node object.",
    ),
    Reason.JOB_FAILED: ReasonInfo(True, "The Job failed without saying why", "See the Pod's log."),
}

MEASURE_AGAIN = "Set the mopt.dev/requestedAt annotation to measure again."
AWAIT_RUN = "That stays until this run has a result: see Ready."


@dataclass(frozen=True)
class OutdatedInfo:
    """What a reason of Outdated means.

    Attributes:
        cause: What is noticed.
        remedy: What the user should do, in sentences.
        awaited: It may be that a run is at work already: AWAIT_RUN then.
    """

    cause: str
    remedy: str = MEASURE_AGAIN
    awaited: bool = False


OUTDATED_REASONS: dict[Reason, OutdatedInfo] = {
    Reason.KNOWN_BAD_VERSION: OutdatedInfo(
        "A tool that made the result has a version that the administrator lists in knownBad",
        f"Use an optimizer image with another version of it. {MEASURE_AGAIN}",
    ),
    Reason.MODEL_CHANGED: OutdatedInfo(
        "The figures are of an earlier run, of other weights than spec.model.sha256 names",
        AWAIT_RUN,
    ),
    Reason.GATES_CHANGED: OutdatedInfo(
        "The figures are of an earlier run, which was judged by other gates than spec.quality's",
        AWAIT_RUN,
    ),
    Reason.OLDER_OPTIMIZER: OutdatedInfo(
        "The result is of another mopt than the present optimizer image holds"
    ),
    Reason.RUNTIME_CHANGED: OutdatedInfo(
        "The present optimizer image holds the same mopt with another version of a runtime or "
        "library that made the result"
    ),
    Reason.DATA_CHANGED: OutdatedInfo(
        "A Job that ran later found other bytes at the same uri; or the figures are of an earlier "
        "run, of other data than spec.data names",
        awaited=True,
    ),
    Reason.HARDWARE_CHANGED: OutdatedInfo(
        "A later result from the same node tells of another CPU, or of other instruction sets"
    ),
    Reason.RESOURCES_CHANGED: OutdatedInfo(
        "The Jobs would get another CPU or memory limit now than the result was measured with",
        awaited=True,
    ),
}

EXIT_CODES = {info.exit_code: reason for reason, info in REASONS.items() if info.exit_code}
PERMANENT_EXIT_CODES = sorted(
    code for code, reason in EXIT_CODES.items() if REASONS[reason].permanent
)


class ErrorReport(ObservedModel):
    """How a Job says why it failed (termination message): one line that can be shown, cut to
    MAX_MESSAGE characters."""

    reason: Reason
    message: str = Field(max_length=MAX_MESSAGE)

    @field_validator("message", mode="before")
    @classmethod
    def _shown(cls, value: object) -> object:
        return one_line(value, MAX_MESSAGE) if isinstance(value, str) else value

    def sentence(self) -> str:
        """Return the message followed by the reason's remedy."""
        remedy = REASONS[self.reason].remedy if self.reason in REASONS else ""
        return f"{self.message.rstrip('.')}. {remedy}".strip()
