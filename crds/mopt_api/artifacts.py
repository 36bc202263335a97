"""Files in the output store, addressed by digest."""

from __future__ import annotations

from pydantic import Field

from .base import Count, Digest, ObservedModel
from .extensible import ExtensibleEnum


class ArtifactFormat(ExtensibleEnum):
    """File format of an artifact."""

    ONNX = "ONNX"
    EXPORTED_PROGRAM = "ExportedProgram"
    TORCH_SCRIPT = "TorchScript"
    TENSORRT_ENGINE = "TensorRTEngine"


class ExternalData(ObservedModel):
    """A file that belongs beside an artifact, at blobs/sha256/HEX under output.uri too."""

    path: str = Field(
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="File name that the artifact refers to: keep it beside the artifact.",
    )
    digest: Digest = Field(description="Digest of the object's bytes.")
    size_bytes: Count = Field(description="Size of the object.")


class Artifact(ObservedModel):
    """A file in the output store, at blobs/sha256/HEX under output.uri."""

    digest: Digest = Field(description="Digest of the object's bytes.")
    size_bytes: Count = Field(description="Size of the object, and of externalData's.")
    format: ArtifactFormat = Field(description="File format.")
    uri: str | None = Field(default=None, max_length=1200, description="Location, s3://BUCKET/KEY.")
    external_data: list[ExternalData] | None = Field(
        default=None,
        max_length=4,
        description="Weights that do not fit into an ONNX file, limited to 2 GB; the manifest "
        "of a TensorRT engine.",
    )

    @property
    def object_bytes(self) -> int:
        """Size of the object alone."""
        return self.size_bytes - sum(data.size_bytes for data in self.external_data or ())


def blob_key(digest: str) -> str:
    """Return the location of an object in the output store, relative to output.uri."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def page_key(result_digest: str) -> str:
    """Return the location of a result's HTML page, relative to output.uri.

    It follows from the digest of result.json, so nothing else needs to name it.
    """
    return f"reports/{result_digest.removeprefix('sha256:')}.html"
