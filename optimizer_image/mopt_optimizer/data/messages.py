"""What the process that decodes data is asked, and what it answers. Paths are local."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mopt_api.base import ObservedModel
from mopt_api.inputs import AnyDimension, ImageTransform, InputSpec
from mopt_api.jobs.data_statistics import DataStatistics

from .fetching import FetchedFolder


class SampleFiles(ObservedModel):
    """Files of samples, all images or all arrays; the answer is Checked.

    Attributes:
        names: Keys relative to the folder; what errors call the files.
        images: How images become inputs.
    """

    op: Literal["samples"] = "samples"
    names: list[str]
    files: list[str]
    inputs: list[InputSpec]
    dimensions: dict[str, AnyDimension]
    images: ImageTransform

    @classmethod
    def of(
        cls,
        fetched: FetchedFolder,
        inputs: list[InputSpec],
        dimensions: dict[str, AnyDimension],
        images: ImageTransform,
    ) -> SampleFiles:
        """Return the message for a folder on the local disk."""
        files = [str(file) for file in fetched.files]
        return cls(
            names=fetched.names, files=files, inputs=inputs, dimensions=dimensions, images=images
        )


class ReferenceFiles(ObservedModel):
    """Files of ground truth; the answer is Checked.

    Attributes:
        names: The objects' uris; what errors call the files.
        images: How images become outputs; None for arrays.
    """

    op: Literal["references"] = "references"
    names: list[str]
    files: list[str]
    images: ImageTransform | None = None


class Read(ObservedModel):
    """Read one of the files that were told of; the answer is Arrays."""

    op: Literal["read"] = "read"
    of: Literal["samples", "references"]
    index: int


class ListArchive(ObservedModel):
    """Look into an archive; the answer is Listed."""

    op: Literal["list"] = "list"
    file: str


class UnpackArchive(ObservedModel):
    """Write members of an archive to files, 0 the first one's; the answer is Checked."""

    op: Literal["unpack"] = "unpack"
    file: str
    names: list[str]


Request = SampleFiles | ReferenceFiles | Read | ListArchive | UnpackArchive
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class Checked(ObservedModel):
    """Every file was read once, and can be used; or was unpacked.

    Attributes:
        statistics: Of samples; None for ground truth.
        patches: A file of pieces for each image input.
    """

    statistics: DataStatistics | None = None
    patches: dict[str, str] = {}


class Arrays(ObservedModel):
    """A file's arrays: the inputs' names, empty for ground truth, and a file for each."""

    names: list[str] = []
    files: list[str]


class Members(ObservedModel):
    """What an archive holds.

    Attributes:
        files: Sizes in bytes of its image and array files, by their names.
        others: How many other files there are.
    """

    files: dict[str, Annotated[int, Field(ge=0)]]
    others: int


class Listed(ObservedModel):
    """A file of Members: an answer is too short for many."""

    file: str
