"""Devices that Pods claim: dynamic resource allocation, in Kubernetes' own words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import ApiModel, Rule, SecretName
from .pod_files import BY_NAME, VolumeName


class DeviceClaim(ApiModel):
    """A ResourceClaim of Jobs' Pods, whose devices their container gets."""

    name: VolumeName = Field(description="Of the claim within the Pod.")
    resource_claim_template_name: SecretName | None = Field(
        default=None,
        description="ResourceClaimTemplate in the resource's namespace, of which each Pod gets a "
        "claim of its own.",
    )
    resource_claim_name: SecretName | None = Field(
        default=None,
        description="ResourceClaim in the resource's namespace, which all Pods share.",
    )
    request: VolumeName | None = Field(
        default=None, description="The one of the claim's requests. Omitted, all of them."
    )
    kind: Literal["GPU"] | None = Field(
        default=None,
        description="GPU: its devices are NVIDIA's GPUs, and targets get variants for them. "
        "Omitted, they make no target another one.",
    )

    RULES = (
        Rule(
            "has(self.resourceClaimTemplateName) != has(self.resourceClaimName)",
            "a claim takes one of resourceClaimTemplateName and resourceClaimName",
            lambda c: (c.resource_claim_template_name is None) != (c.resource_claim_name is None),
        ),
    )

    @property
    def in_pod(self) -> dict[str, str]:
        """Return it as the Pod has it."""
        both = {
            "resourceClaimTemplateName": self.resource_claim_template_name,
            "resourceClaimName": self.resource_claim_name,
        }
        return {"name": self.name} | {key: value for key, value in both.items() if value}

    @property
    def in_container(self) -> dict[str, str]:
        """Return it as the container has it."""
        return {"name": self.name} | ({"request": self.request} if self.request else {})


DeviceClaims = Annotated[list[DeviceClaim], Field(max_length=8, json_schema_extra=BY_NAME)]
