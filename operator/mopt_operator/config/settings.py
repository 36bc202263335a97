"""What the administrator decides: the model of the operator's configuration. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mopt_api.base import ApiModel, Name, Rule
from mopt_api.enums import TargetKind
from mopt_api.inputs import SecretRef
from mopt_api.quantities import Quantity
from mopt_api.sandbox import SandboxMode
from mopt_api.spec import Output, Resources
from mopt_operator.errors import SettingsError

from .job_pods import JobPods
from .known_bad import KnownBad
from .labels import LabelKey, LabelValue, PodAnnotations, PodLabels
from .quantities import gpus_of, resources_fault

DEFAULT_PROFILE = "default"
# Fields of a profile that only say when its Jobs run, and what serving on it costs.
_NO_IDENTITY = frozenset(
    {
        "maxRunning",
        "measurementSlots",
        "queuePriorityClassName",
        "pricePerHour",
        "wattsIdle",
        "wattsBusy",
    }
)
# Fields that came later: where they are empty, Jobs keep the names that they had.
_LATER = frozenset({"podLabels", "podAnnotations"})
_NAMESPACE = "{namespace}"
_PLACEHOLDER = re.compile(r"\{[^}]*\}?")


Watt = Annotated[float, Field(ge=0, le=1e6)]
AtLeastOne = Annotated[int, Field(ge=1, le=2**31 - 1)]


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """Which log lines are written: those of a level, and of what is worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PullPolicy(StrEnum):
    """When the kubelet pulls the optimizer image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class UpgradePolicy(StrEnum):
    """What happens to results that are Outdated."""

    KEEP = "Keep"
    RERUN = "Rerun"
    VERIFY = "Verify"


class OnUpgrade(ApiModel):
    """How results that are Outdated are treated; in short form the policy alone."""

    policy: UpgradePolicy = Field(
        default=UpgradePolicy.KEEP,
        description="Keep: mark as Outdated. Rerun: make those of another image again. Verify: "
        "measure the best forms briefly, and make again what does not hold.",
    )
    max_concurrent: AtLeastOne = Field(
        default=5,
        description="With Rerun and Verify: resources at work at once, oldest first.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return {"policy": value} if isinstance(value, str) else value


ComputeCapability = Annotated[str, Field(pattern=r"^[1-9][0-9]?\.[0-9]$")]
Image = Annotated[str, Field(min_length=1, max_length=512)]
ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class Toleration(ApiModel):
    """As in a Pod."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None

    RULES = (
        Rule(
            "self.operator != 'Exists' || !has(self.value)",
            "Exists takes no value",
            lambda t: t.operator != "Exists" or not t.value,
        ),
        Rule(
            "has(self.key) || self.operator == 'Exists'",
            "without a key the operator must be Exists",
            lambda t: bool(t.key) or t.operator == "Exists",
        ),
        Rule(
            "!has(self.tolerationSeconds) || self.effect == 'NoExecute'",
            "tolerationSeconds belongs to the effect NoExecute",
            lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
        ),
    )


class NodeRequirement(ApiModel):
    """What a node's label must fulfil, as in a Pod's node affinity."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[LabelValue] = []

    RULES = (
        Rule(
            "!(self.operator in ['In', 'NotIn']) || size(self.values) > 0",
            "In and NotIn need values",
            lambda r: r.operator not in ("In", "NotIn") or r.values,
        ),
        Rule(
            "!(self.operator in ['Exists', 'DoesNotExist']) || size(self.values) == 0",
            "Exists and DoesNotExist take no values",
            lambda r: r.operator not in ("Exists", "DoesNotExist") or not r.values,
        ),
        Rule(
            "!(self.operator in ['Gt', 'Lt']) || size(self.values) == 1",
            "Gt and Lt take one whole number",
            lambda r: (
                r.operator not in ("Gt", "Lt") or (len(r.values) == 1 and r.values[0].isdigit())
            ),
        ),
    )


class Profile(ApiModel):
    """Hardware that the administrator offers to targets, and the Pod template of its Jobs.

    Checked when the operator starts: a profile that makes no valid Pod ends it with one line.
    """

    node_selector: dict[LabelKey, LabelValue] = {}
    node_affinity: list[NodeRequirement] = Field(
        default=[], max_length=16, description="A node must fulfil them all."
    )
    tolerations: list[Toleration] = []
    resources: Resources = Resources()
    service_account_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    priority_class_name: ObjectName | None = None
    scratch_size: Quantity = Field(default="8Gi", description="Size limit of the Job's /tmp.")
    image: Image | None = Field(
        default=None, description="Image of its Jobs; None is the settings' optimizerImage."
    )
    build_only: bool = Field(
        default=False,
        description="Its Jobs build TensorRT engines for GPUs that they do not have.",
    )
    compute_capabilities: list[ComputeCapability] = Field(
        default=[], max_length=8, description='Of those GPUs, such as "8.9".'
    )
    max_running: AtLeastOne | None = Field(
        default=None, description="Its Jobs that run at once in the whole cluster; None: any."
    )
    measurement_slots: AtLeastOne = Field(
        default=1,
        description="Its measurements that run at once: as many as it has nodes. Engines that "
        "are only built need no slot.",
    )
    queue_priority_class_name: ObjectName | None = Field(
        default=None, description="WorkloadPriorityClass of its Jobs in Kueue's queues."
    )
    price_per_hour: Quantity | None = Field(
        default=None,
        description="Price of one replica that serves on it, a Pod with its resources, for an "
        "hour; in the one currency of all profiles.",
    )
    pod_labels: PodLabels = Field(default={}, description="Further labels of its Jobs' Pods.")
    pod_annotations: PodAnnotations = Field(default={}, description="Annotations of those Pods.")
    watts_idle: Watt | None = Field(default=None, description="Power of a replica without work.")
    watts_busy: Watt | None = Field(default=None, description="Power of a replica always at work.")

    RULES = (
        Rule(
            "has(self.wattsIdle) == has(self.wattsBusy) && "
            "(!has(self.wattsIdle) || self.wattsIdle <= self.wattsBusy)",
            "wattsIdle and wattsBusy need each other, and idle is not more than busy",
            lambda p: (
                (p.watts_idle is None) == (p.watts_busy is None)
                and (p.watts_idle or 0.0) <= (p.watts_busy or 0.0)
            ),
        ),
        Rule(
            "self.buildOnly == (size(self.computeCapabilities) > 0)",
            'buildOnly: true and computeCapabilities, such as ["8.6", "8.9"], need each other',
            lambda p: p.build_only == bool(p.compute_capabilities),
        ),
        Rule(
            "self.computeCapabilities.all(c, self.computeCapabilities.exists_one(d, c == d))",
            "computeCapabilities names one twice",
            lambda p: len(set(p.compute_capabilities)) == len(p.compute_capabilities),
        ),
    )

    @model_validator(mode="after")
    def _check_resources(self) -> Self:
        if fault := resources_fault(self.resources):
            raise ValueError(f"resources.{fault}")
        if self.build_only and (gpus := gpus_of(self.resources)):
            raise ValueError(f"resources: {gpus[0]} with buildOnly, which needs no GPU")
        return self

    @property
    def kind(self) -> TargetKind:
        """The kind of hardware that its Jobs run on."""
        if self.build_only:
            return TargetKind.BUILD_ONLY
        return TargetKind.GPU if gpus_of(self.resources) else TargetKind.CPU

    @property
    def is_unpriced(self) -> bool:
        """Whether it measures, and nobody says what serving on it costs."""
        return not self.build_only and self.price_per_hour is None

    def identity(self) -> dict[str, Any]:
        """Return what makes its Jobs other Jobs: not when they run or what serving would cost, but
        what they are."""
        return {
            key: value
            for key, value in self.to_api().items()
            if key not in _NO_IDENTITY and (value or key not in _LATER)
        }


class SigningKey(ApiModel):
    """A Secret in the namespace of each resource, mounted into Jobs that publish."""

    secret_name: ObjectName = Field(min_length=1)
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        default="key.pem", description="Of the Secret: an unencrypted private key as PEM."
    )


class Publishing(ApiModel):
    """How what to serve is published, where a resource asks for it."""

    base_image: (
        Annotated[str, Field(max_length=512, pattern=r"^[^@\s]+@sha256:[0-9a-f]{64}$")] | None
    ) = Field(default=None, description="Image, by digest, whose layers come first; None: none.")
    resources: Resources = Field(
        default=Resources(
            requests={"cpu": "250m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "1Gi"}
        ),
        description="Of the Job's container.",
    )
    signing: SigningKey | None = Field(default=None, description="None: nothing is signed.")

    @model_validator(mode="after")
    def _check_resources(self) -> Self:
        if fault := resources_fault(self.resources):
            raise ValueError(f"resources.{fault}")
        return self


class LeaderElection(ApiModel):
    """The Lease that decides which of several operators works."""

    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="The namespace that the operator runs in."
    )
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        default="mopt-operator", description="Name of the Lease."
    )


class HealthTls(ApiModel):
    """Files of a certificate, as a Secret of type kubernetes.io/tls has them."""

    folder: str = Field(min_length=1, description="With tls.crt, tls.key and perhaps ca.crt.")
    client_certificates: bool = Field(
        default=False, description="/metrics is for clients whose certificate ca.crt signed."
    )


class Settings(ApiModel):
    """What the administrator decides."""

    optimizer_image: Image = Field(
        description="Image of the Jobs, with tag or digest; a profile may name another."
    )
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: list[SecretRef] = []
    default_output: Output | None = Field(
        default=None,
        description="Where results of resources without spec.output go; {namespace} in its uri "
        "stands for the resource's.",
    )
    profiles: dict[Name, Profile] = {DEFAULT_PROFILE: Profile()}
    watch_namespaces: list[str] = Field(default=[], description="Empty: the whole cluster.")
    jobs: JobPods = JobPods()
    log_format: LogFormat = LogFormat.JSON
    log_level: LogLevel = LogLevel.INFO
    ttl_seconds_after_finished: int = Field(
        default=3600, ge=0, description="Life of a finished Job once its result is in status."
    )
    health_address: str = Field(
        default="0.0.0.0:8080",
        pattern=r"^[^:/\s]+:[0-9]+$",
        description="HOST:PORT of /healthz, /readyz and /metrics.",
    )
    health_tls: HealthTls | None = Field(default=None, description="None: plain HTTP.")
    on_upgrade: OnUpgrade = OnUpgrade()
    known_bad: list[KnownBad] = Field(
        default=[], max_length=64, description="Results made by one of these are Outdated."
    )
    max_running_per_namespace: AtLeastOne | None = Field(
        default=None, description="Jobs of one namespace that run at once; None: any number."
    )
    sandbox: SandboxMode = Field(
        default=SandboxMode.REQUIRED,
        description="Required: no model is opened on nodes without Landlock. BestEffort: it is.",
    )
    publish: Publishing = Publishing()
    leader_election: LeaderElection | None = Field(
        default=None, description="None: this operator is the only one."
    )

    RULES = (
        Rule(
            "'default' in self.profiles",
            "profiles must hold one named default",
            lambda s: DEFAULT_PROFILE in s.profiles,
        ),
    )

    @model_validator(mode="after")
    def _check_default_output(self) -> Self:
        uri = self.default_output.uri if self.default_output else ""
        if unknown := [name for name in _PLACEHOLDER.findall(uri) if name != _NAMESPACE]:
            raise ValueError(
                f"defaultOutput.uri: {unknown[0]} stands for nothing; {_NAMESPACE} does"
            )
        return self

    def output_in(self, namespace: str) -> Output | None:
        """Return where results of a namespace's resources without spec.output go."""
        output = self.default_output
        if output is None:
            return None
        return output.model_copy(update={"uri": output.uri.replace(_NAMESPACE, namespace)})

    def image_of(self, profile: Profile) -> str:
        """Return the image of a profile's Jobs."""
        return profile.image or self.optimizer_image


def parse_settings(text: str) -> Settings:
    """Return the settings in a JSON text.

    Raises:
        SettingsError: One line that names the first wrong field.
    """
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        raise SettingsError(f"{field}: {first['msg']}") from error
