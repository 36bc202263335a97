"""Publishing what to serve to an OCI registry: what is asked for, and what was published."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .artifacts import ArtifactFormat
from .base import ApiModel, Digest, ObservedModel, Rule, SecretName
from .stores import REPOSITORY, TAG

REPOSITORY_PATTERN = f"^{REPOSITORY}$"
TAG_PATTERN = f"^{TAG}$"

MODEL_PATH = "org.cncf.model.filepath"
"""Annotation of a ModelPack's layer: the path of the file that it is."""
APPROVE_SEPARATOR = ","
"""Between the digests in the annotation mopt.dev/approve."""

Tag = Annotated[str, Field(min_length=1, max_length=128, pattern=TAG_PATTERN)]


class PublishLayout(StrEnum):
    """What a published image holds."""

    MODEL_REPOSITORY = "ModelRepository"
    FILES = "Files"
    MODEL_PACK = "ModelPack"


def is_loaded(kind: ArtifactFormat, layout: PublishLayout) -> bool:
    """Tell whether the servers that a layout is for load files of a format.

    Of programs of torch.export none of them does: Triton's PyTorch backend loads TorchScript.
    """
    return (kind, layout) != (ArtifactFormat.EXPORTED_PROGRAM, PublishLayout.MODEL_REPOSITORY)


class PublishPolicy(StrEnum):
    """Who decides that a new selection is published."""

    AUTO = "Auto"
    MANUAL = "Manual"


class RegistrySecretRef(ApiModel):
    """A Secret of type kubernetes.io/dockerconfigjson in the resource's namespace. The operator
    never reads it: the kubelet mounts it into the Job."""

    name: SecretName = Field(description="Name of the Secret.")


class OciRepository(ApiModel):
    """A repository of an OCI registry."""

    repository: str = Field(
        min_length=3,
        max_length=255,
        pattern=REPOSITORY_PATTERN,
        description="Where to push, HOST[:PORT]/PATH, without tag or digest.",
    )
    layout: PublishLayout = Field(
        default=PublishLayout.MODEL_REPOSITORY,
        description="ModelRepository: the folder that Triton, OpenVINO Model Server and KServe "
        "load, under /models; Files: the files alone, under /models; ModelPack: an artifact of the "
        "CNCF model specification.",
    )
    tags: list[Tag] = Field(
        default=["latest"],
        min_length=1,
        max_length=8,
        description="Tags that are moved to what was published last.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    credentials_secret_ref: RegistrySecretRef | None = Field(
        default=None, description="Credentials of the registry. Omitted, none are sent."
    )
    insecure: bool = Field(
        default=False, description="Allow a registry that speaks HTTP without TLS."
    )

    RULES = (
        Rule(
            "!has(self.tags) || self.tags.all(t, self.tags.filter(u, u == t).size() == 1)",
            "each tag may be named once",
            lambda oci: len(set(oci.tags)) == len(oci.tags),
        ),
    )


class Publish(ApiModel):
    """Where what to serve is published, once it is selected. Ready does not depend on it."""

    oci: OciRepository = Field(description="An OCI registry's repository.")
    policy: PublishPolicy = Field(
        default=PublishPolicy.AUTO,
        description="Auto: each new selection. Manual: a selection whose digest the annotation "
        "mopt.dev/approve names; of several targets, all of them, with commas between.",
    )


class Published(ObservedModel):
    """What was published of a target; immutable, since it is named by digest."""

    reference: str = Field(
        max_length=330,
        description="This target's image, REPOSITORY@DIGEST.",
    )
    index: str = Field(
        max_length=330,
        description="The index of all targets' images, REPOSITORY@DIGEST: what the tags named.",
    )
    tags: list[Tag] = Field(
        default=[],
        max_length=8,
        description="Tags that were set to the index.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    signed: bool = Field(description="Whether a signature and statements were attached.")
    artifact: Digest = Field(description="Digest of the form that it holds.")
    variant: str | None = Field(
        default=None,
        max_length=40,
        description="Name of that form; absent in the status of an older version.",
    )
    instead_of: Digest | None = Field(
        default=None,
        description="Digest of what was selected, where no server loads that from the layout: the "
        "form of the same precision that is published in its place is then in variant.",
    )
    key: str = Field(
        max_length=16,
        description="Key of all that decides on the images' content; while it is unchanged "
        "nothing is pushed.",
    )
    time: str = Field(
        description="When it was published.", json_schema_extra={"format": "date-time"}
    )

    @property
    def selected(self) -> str:
        """Digest of the selected form that it was published for."""
        return self.instead_of or self.artifact


def reference(repository: str, digest: str) -> str:
    """Return a reference by digest, REPOSITORY@DIGEST."""
    return f"{repository}@{digest}"


def approved(annotation: str | None) -> frozenset[str]:
    """Return the digests that the annotation mopt.dev/approve names."""
    parts = (annotation or "").split(APPROVE_SEPARATOR)
    return frozenset(part.strip() for part in parts if part.strip())
