"""What a Job that publishes is told: the forms, whose they are, and where its keys are mounted."""

from __future__ import annotations

from pydantic import Field

from mopt_api.base import ApiModel, Digest, Name
from mopt_api.enums import TargetKind

REGISTRY_AUTH_FILE = "/var/run/secrets/mopt.dev/registry/config.json"
"""Where the registry's credentials are mounted, as ~/.docker/config.json has them. A file ca.crt
beside it, where there is one, holds certificates that are trusted besides the system's."""
REGISTRY_AUTH_VARIABLE = "MOPT_REGISTRY_AUTH_FILE"
"""Names another such file, for use outside of a cluster."""
MODEL_AUTH_FILE = "/var/run/secrets/mopt.dev/model-registry/config.json"
"""Likewise, of the registry that the model lies in."""
MODEL_AUTH_VARIABLE = "MOPT_MODEL_REGISTRY_AUTH_FILE"
"""Names another such file; outside of a cluster that of REGISTRY_AUTH_VARIABLE is the default."""
SIGNING_KEY_FILE = "/var/run/secrets/mopt.dev/signing/key.pem"
"""Where the administrator's signing key is mounted."""
SIGNING_KEY_VARIABLE = "MOPT_SIGNING_KEY_FILE"
"""Names another such file, for use outside of a cluster."""


class PublishedForm(ApiModel):
    """What to publish of one target: the form that is selected there."""

    target: Name
    kind: TargetKind = TargetKind.CPU
    variant: str = Field(description="The form's name; baseline for the source model.")
    artifact: Digest = Field(description="Digest of its file.")
    uri: str = Field(
        description="Where it lies. That of a form is under outputUri; that of the baseline is the "
        "model's, read with the model's credentials. file:// in local runs."
    )
    result: Digest = Field(description="Digest of the result.json that proves it; under outputUri.")


class PublishedResource(ApiModel):
    """The resource that what is published was made for, as the statements name it."""

    namespace: str
    name: str
    uid: str
    generation: int
