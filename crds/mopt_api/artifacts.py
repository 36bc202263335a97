"""Files in the output store, addressed by digest."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from .base import Count, Digest, ObservedModel
from .extensible import ExtensibleEnum
from .formats import FORMATS

ENGINE_MANIFEST_SUFFIX = ".json"
"""Of the file beside a TensorRT engine that says where it may run, after the engine's name."""


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


class ArtifactFile(NamedTuple):
    """A file of an artifact, as it is called on a disk."""

    name: str
    digest: str
    size_bytes: int


def file_name(kind: ArtifactFormat) -> str:
    """Return what mopt names a file of a format, which says how to open it."""
    if kind is ArtifactFormat.TENSORRT_ENGINE:
        return "model.engine"
    source = next((info for name, info in FORMATS.items() if name.value == kind.value), None)
    return f"model{source.suffix}" if source else "model"  # One of a newer version.


def artifact_files(artifact: Artifact, name: str | None = None) -> list[ArtifactFile]:
    """Return an artifact's files; first, what is opened.

    Args:
        name: Of that one; omitted, that of its format. Files of weights keep theirs, which an ONNX
            file refers to; the manifest of an engine is named after it.
    """
    main = name or file_name(artifact.format)
    engine = artifact.format is ArtifactFormat.TENSORRT_ENGINE
    beside = f"{main}{ENGINE_MANIFEST_SUFFIX}" if engine else None
    return [
        ArtifactFile(main, artifact.digest, artifact.object_bytes),
        *(
            ArtifactFile(beside or data.path, data.digest, data.size_bytes)
            for data in artifact.external_data or ()
        ),
    ]


def blob_key(digest: str) -> str:
    """Return the location of an object in the output store, relative to output.uri."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def page_key(result_digest: str) -> str:
    """Return the location of a result's HTML page, relative to output.uri.

    It follows from the digest of result.json, so nothing else needs to name it.
    """
    return f"reports/{result_digest.removeprefix('sha256:')}.html"
