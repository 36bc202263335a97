"""OptimizationProfile: hardware that the administrator offers to targets, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from .base import ApiModel, ObservedModel, Rule
from .devices import DeviceClaims
from .enums import TargetKind
from .placement import (
    ATOMIC,
    LabelMap,
    LabelSelector,
    NodeRequirement,
    PodAnnotations,
    PodLabels,
    Toleration,
)
from .pod_files import MOUNTED_RULE, ExtraVolumeMounts, ExtraVolumes
from .quantities import Quantity, amount
from .spec import Resources
from .status import Condition

PROFILE_KIND = "OptimizationProfile"
PROFILE_PLURAL = "optimizationprofiles"
VALID = "Valid"
"""The type of the one condition."""
GPU_DOMAIN = "nvidia.com/"
"""Of NVIDIA's device plugin: nvidia.com/gpu, or a MIG slice such as nvidia.com/mig-1g.10gb."""

# Fields that only say who may use it, when its Jobs run, and what serving on it costs.
_NO_IDENTITY = frozenset(
    {
        "namespaceSelector",
        "maxRunning",
        "measurementSlots",
        "queuePriorityClassName",
        "pricePerHour",
        "wattsIdle",
        "wattsBusy",
    }
)
# Fields that came later: where they are empty, Jobs keep the names that they had.
_LATER = frozenset(
    {"podLabels", "podAnnotations", "resourceClaims", "extraVolumes", "extraVolumeMounts"}
)

Watt = Annotated[float, Field(ge=0, le=1e6)]
AtLeastOne = Annotated[int, Field(ge=1, le=2**31 - 1)]
ComputeCapability = Annotated[str, Field(max_length=4, pattern=r"^[1-9][0-9]?\.[0-9]$")]
Image = Annotated[str, Field(min_length=1, max_length=512)]
ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


def resources_fault(resources: Resources) -> str | None:
    """Return why a Pod with these resources is refused, or None."""
    for name, requested in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and amount(requested) > amount(limit):
            return f"requests.{name} {requested} is more than limits.{name} {limit}"
    for side, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, quantity in amounts.items():
            if "/" in name and amount(quantity) % 1:
                return f"{side}.{name} {quantity}: devices come in whole numbers"
    for name, requested in resources.requests.items():
        if "/" in name and amount(requested) != amount(resources.limits.get(name, 0)):
            return f"requests.{name} {requested} must equal limits.{name}: devices cannot be shared"
    return None


def gpus_of(resources: Resources) -> list[str]:
    """Return the names of NVIDIA's GPUs and MIG slices among the resources."""
    asked = {**resources.requests, **resources.limits}
    return [name for name, count in asked.items() if name.startswith(GPU_DOMAIN) and amount(count)]


class OptimizationProfileSpec(ApiModel):
    """Hardware that the administrator offers to targets, and the Pod template of its Jobs."""

    node_selector: LabelMap = Field(
        default={}, max_length=64, description="Labels a node must have."
    )
    node_affinity: list[NodeRequirement] = Field(
        default=[],
        max_length=16,
        description="What a node's labels must fulfil, all of them.",
        json_schema_extra=ATOMIC,
    )
    tolerations: list[Toleration] = Field(
        default=[],
        max_length=64,
        description="Taints that its Jobs tolerate.",
        json_schema_extra=ATOMIC,
    )
    resources: Resources = Resources()
    service_account_name: ObjectName | None = Field(
        default=None,
        description="ServiceAccount of its Jobs' Pods; its token is never mounted. Omitted, the "
        "namespace's default.",
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass of its Jobs' Pods."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of its Jobs' Pods."
    )
    scratch_size: Quantity = Field(default="8Gi", description="Size limit of the Job's /tmp.")
    image: Image | None = Field(
        default=None, description="Image of its Jobs. Omitted, the operator's optimizerImage."
    )
    build_only: bool = Field(
        default=False,
        description="Its Jobs build TensorRT engines for GPUs that they do not have.",
    )
    compute_capabilities: list[ComputeCapability] = Field(
        default=[],
        max_length=8,
        description='Of those GPUs, such as "8.9".',
        json_schema_extra=ATOMIC,
    )
    max_running: AtLeastOne | None = Field(
        default=None,
        description="Its Jobs that run at once in the whole cluster. Omitted, any number.",
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
    resource_claims: DeviceClaims = Field(
        default=[],
        description="Devices that the Pods of its preparations and measurements claim, in place "
        "of, or beside, those of resources. Kubernetes 1.34 or newer.",
    )
    extra_volumes: ExtraVolumes = Field(
        default=[],
        description="ConfigMaps and keys of Secrets in the resource's namespace, as files of its "
        "Jobs' Pods, beside those of all Jobs.",
    )
    extra_volume_mounts: ExtraVolumeMounts = Field(
        default=[], description="Where these are, read-only."
    )
    watts_idle: Watt | None = Field(default=None, description="Power of a replica without work.")
    watts_busy: Watt | None = Field(default=None, description="Power of a replica always at work.")
    namespace_selector: LabelSelector | None = Field(
        default=None,
        description="Namespaces whose resources may use it, by their labels. Omitted, all.",
    )

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
        Rule(
            "!self.buildOnly || self.resourceClaims.all(c, !has(c.kind))",
            "resourceClaims: a GPU with buildOnly, which needs none",
            lambda p: not (p.build_only and any(c.kind for c in p.resource_claims)),
        ),
        MOUNTED_RULE,
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
        claimed = any(claim.kind == TargetKind.GPU for claim in self.resource_claims)
        return TargetKind.GPU if claimed or gpus_of(self.resources) else TargetKind.CPU

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


class ProfileReason(StrEnum):
    """Why a profile is Valid, or is not."""

    JOBS_ACCEPTED = "JobsAccepted"
    """The API server takes its Jobs in a dry run."""
    NOT_TRIED = "NotTried"
    """It may be used; a quota, a policy or the network kept the dry run from telling."""
    INVALID_FIELD = "InvalidField"
    """A field cannot be used; the message names it."""
    JOBS_REFUSED = "JobsRefused"
    """The API server refuses its Jobs."""

    @classmethod
    def of_the_invalid(cls) -> frozenset[ProfileReason]:
        """Return those with which no target may use it."""
        return frozenset({cls.INVALID_FIELD, cls.JOBS_REFUSED})


class OptimizationProfileStatus(ObservedModel):
    """How a profile stands."""

    observed_generation: int | None = Field(
        default=None, description="Generation of spec that this describes."
    )
    kind: str | None = Field(
        default=None, max_length=16, description="Hardware of its targets: CPU, GPU or BuildOnly."
    )
    nodes: int | None = Field(
        default=None,
        ge=0,
        description="Nodes that fit it by labels, taints and allocatable amounts, whatever runs on "
        "them. Absent where the operator may not list nodes.",
    )
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Valid: whether targets may use it.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )


def read_profile(spec: Mapping[str, Any]) -> OptimizationProfileSpec:
    """Return a profile as it is written.

    Raises:
        ValueError: One line that names the first wrong field.
    """
    try:
        return OptimizationProfileSpec.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("spec", *first["loc"]) if part != "[key]")
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{field}: {message}") from error
