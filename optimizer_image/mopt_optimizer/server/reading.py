"""Reads and verifies a folder that `mopt export` wrote, or /models of a published image.

Opens no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import Runtime, TorchMode
from mopt_api.figures import Serving
from mopt_optimizer.data.declared import axis_of
from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import DigestMismatch, ModelError, ObjectNotFound, UnservableForm
from mopt_optimizer.opening.inputs import Axis, ModelInput
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.serving.description import (
    DESCRIPTION,
    SCHEMA_VERSION,
    DescribedTensor,
    Description,
)

_MOST_BYTES = 4 * 2**20
_ENGINE_SUFFIX = ".engine"


@dataclass(frozen=True)
class Folder:
    """A form in a folder, its files as described.

    Attributes:
        opened: The file that is opened.
        beside: Names of the files beside it.
    """

    description: Description
    opened: Path
    beside: tuple[str, ...]

    @property
    def inputs(self) -> list[ModelInput]:
        """What requests are checked against."""
        dimensions = self.description.dimensions
        return [
            ModelInput(
                tensor.name,
                tensor.dtype,
                tuple(Axis() if s is None else axis_of(s, dimensions) for s in tensor.dims),
            )
            for tensor in self.description.inputs
        ]

    def serving(self, instances: int | None, threads: int | None, batch: int | None) -> Serving:
        """Return how it is served: as asked for, else as was found best, else as was measured.

        Raises:
            UnservableForm: A batch of a form whose samples cannot be computed together.
        """
        found, most = self.description.serving, self.description.batch
        wanted = batch or (found.batch if found else 1)
        if batch is not None and batch > max(most, 1):
            raise UnservableForm(
                f"--batch {batch}: {self.description.title} computes at most "
                f"{max(most, 1)} together"
            )
        return Serving(
            instances=instances or (found.instances if found else 1),
            threads=threads or (found.threads if found else self.description.options.threads or 1),
            batch=min(wanted, max(most, 1)),
        )

    def opening(self, threads: int, scratch: Path) -> Opening:
        """Return how the file is opened."""
        described = self.description
        return Opening(
            runtime=described.runtime,
            precision=described.precision,
            float_precision=described.float_precision,
            path=self.opened,
            threads=threads,
            compiled=described.torch_mode is TorchMode.COMPILED,
            gpu=described.options.gpu,
            provider=described.options.provider,
            shapes=described.options.shapes,
            scratch=scratch,
        )


def described_in(folder: Path) -> Folder:
    """Return the form in a folder, whose files are not read yet.

    Raises:
        ObjectNotFound: No such folder, or without a description.
        ModelError: The description is damaged, or of a newer version.
        UnservableForm: A form that this server does not open.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        what = f"has no {DESCRIPTION}" if folder.is_dir() else "is no folder"
        raise ObjectNotFound(
            f"{folder} {what}: name a folder that mopt export wrote, or /models of a published "
            "image, by this version of mopt or a newer one"
        )
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{path} is larger than any description of a form")
    try:
        described = Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path} describes no form: {where}: {first['msg']}") from error
    if described.schema_version > SCHEMA_VERSION:
        raise ModelError(
            f"{path} has version {described.schema_version}, this mopt reads up to "
            f"{SCHEMA_VERSION}; upgrade it"
        )
    named = {dim for t in (*described.inputs, *described.outputs) for dim in t.dims}
    if missing := {dim for dim in named if isinstance(dim, str)} - described.dimensions.keys():
        raise ModelError(f"{path} gives dimension {min(missing)} no range")
    opened = folder / described.files[0].path
    _refuse_engine(described, opened)
    beside = tuple(Path(file.path).name for file in described.files[1:])
    return Folder(described, opened, beside)


def _refuse_engine(described: Description, opened: Path) -> None:
    if described.runtime is Runtime.TENSORRT or opened.suffix == _ENGINE_SUFFIX:
        raise UnservableForm(
            f"{described.title} is {ArtifactFormat.TENSORRT_ENGINE}: export it with --as triton "
            "and serve it with Triton"
        )


def verify_files(folder: Path, described: Description) -> None:
    """Hold every file of a form to its digest.

    Raises:
        ObjectNotFound: A file is missing, or is none of the folder's.
        DigestMismatch: It has other bytes.
    """
    root = folder.resolve()
    for file in described.files:
        path = folder / file.path
        if not path.is_file() or not path.resolve().is_relative_to(root):
            raise ObjectNotFound(f"{path} is not there, and {DESCRIPTION} names it")
        if (found := file_digest(path)) != file.digest:
            raise DigestMismatch(f"{path} has {found}, {DESCRIPTION} says {file.digest}")


def largest_request(folder: Folder) -> int | None:
    """Return the bytes of the largest inputs together; None where an axis has no bound. Pure."""
    total = 0
    for tensor in folder.description.inputs:
        values = _most_values(tensor, folder.description)
        if values is None:
            return None
        total += values * np.dtype(tensor.dtype).itemsize
    return total


def _most_values(tensor: DescribedTensor, described: Description) -> int | None:
    sizes = [described.dimensions[d].max if isinstance(d, str) else d for d in tensor.dims]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)
