"""Where Pods may run and what they are marked with, in Kubernetes' own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from .base import GROUP, ApiModel, Rule

LabelKey = Annotated[
    str,
    Field(
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?"
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    ),
]
LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
]

# The operator's, the Job controller's, Kueue's (on Pods it would count them a second time), and
# what lifts AppArmor from a container.
_OTHERS_PREFIXES = (
    f"{GROUP}/",
    "batch.kubernetes.io/",
    "kueue.x-k8s.io/",
    "container.apparmor.security.beta.kubernetes.io/",
)
_OTHERS = frozenset({"app.kubernetes.io/managed-by", "controller-uid", "job-name"})


def _refuse_others(given: dict[str, str]) -> dict[str, str]:
    for key in given:
        if key in _OTHERS or key.startswith(_OTHERS_PREFIXES):
            raise ValueError(f"{key} is not to be set on the Pods of Jobs")
    return given


PodLabels = Annotated[
    dict[LabelKey, LabelValue], Field(max_length=32), AfterValidator(_refuse_others)
]
PodAnnotations = Annotated[
    dict[LabelKey, Annotated[str, Field(max_length=4096)]],
    Field(max_length=32),
    AfterValidator(_refuse_others),
]


LabelMap = dict[LabelKey, LabelValue]
ATOMIC: JsonDict = {"x-kubernetes-list-type": "atomic"}
"""A list that one writer owns as a whole."""
LabelValues = Annotated[list[LabelValue], Field(max_length=64, json_schema_extra=ATOMIC)]


class Toleration(ApiModel):
    """As in a Pod."""

    key: LabelKey | None = Field(default=None, description="Of the taint. Omitted, of any.")
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Exists takes any value. Omitted, Equal."
    )
    value: LabelValue | None = Field(default=None, description="Of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Of the taint. Omitted, any."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=-(2**53),
        le=2**53,
        description="With NoExecute, for how long it is tolerated.",
    )

    RULES = (
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || "
            "!has(self.value) || self.value == ''",
            "Exists takes no value",
            lambda t: t.operator != "Exists" or not t.value,
        ),
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "without a key the operator must be Exists",
            lambda t: bool(t.key) or t.operator == "Exists",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds belongs to the effect NoExecute",
            lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
        ),
    )


class NodeRequirement(ApiModel):
    """What a node's label must fulfil, as in a Pod's node affinity."""

    key: LabelKey = Field(description="Of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How its value is compared."
    )
    values: LabelValues = Field(
        default=[], description="What it is compared with: for Gt and Lt one whole number."
    )

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
            "!(self.operator in ['Gt', 'Lt']) || "
            "(size(self.values) == 1 && self.values[0].matches('^[0-9]+$'))",
            "Gt and Lt take one whole number",
            lambda r: (
                r.operator not in ("Gt", "Lt") or (len(r.values) == 1 and r.values[0].isdigit())
            ),
        ),
    )


class SelectorRequirement(ApiModel):
    """What a label must fulfil, as in a label selector."""

    key: LabelKey = Field(description="Of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How its value is compared."
    )
    values: LabelValues = Field(default=[], description="What it is compared with.")

    RULES = NodeRequirement.RULES[:2]


class LabelSelector(ApiModel):
    """Labels that an object must have, as metav1.LabelSelector; an empty one selects all."""

    match_labels: LabelMap = Field(
        default={}, max_length=16, description="Labels with these values."
    )
    match_expressions: list[SelectorRequirement] = Field(
        default=[],
        max_length=16,
        description="Requirements, which must hold too.",
        json_schema_extra=ATOMIC,
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels are selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            holds(requirement, labels) for requirement in self.match_expressions
        )


def holds(requirement: NodeRequirement | SelectorRequirement, labels: Mapping[str, str]) -> bool:
    """Tell whether labels fulfil a requirement, as Kubernetes judges it.

    NotIn also holds where the label is missing; Gt and Lt do not where it is no whole number.
    """
    value, values = labels.get(requirement.key), requirement.values
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as order:
            if value is None or not value.isdigit():
                return False
            return int(value) > int(values[0]) if order == "Gt" else int(value) < int(values[0])
