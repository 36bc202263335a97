"""The process that decodes data files, or reads an archive of them: without credentials, its folder
its only way out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mopt_api.base import ObservedModel
from mopt_optimizer.errors import DataError
from mopt_optimizer.progress import Log
from mopt_optimizer.quality import Array
from mopt_optimizer.sandbox import serve

from . import archives
from .decoder import ReadReference
from .decoding import LocalDecoder
from .messages import (
    REQUEST,
    Arrays,
    Checked,
    ListArchive,
    Listed,
    Read,
    ReferenceFiles,
    SampleFiles,
    UnpackArchive,
)
from .npy import save_array
from .samples import Inputs

_MEMBERS = "members.json"


class DecodingSession:
    """The files that it was told of. Called as a sandbox.Handler."""

    def __init__(self) -> None:
        self._decoder = LocalDecoder()
        self._samples: Sequence[Inputs] | None = None
        self._references: ReadReference | None = None

    def __call__(self, payload: dict[str, Any], workdir: Path, _log: Log) -> dict[str, Any]:
        """Answer a request.

        Raises:
            SpecError, DataError, DimensionError: As Decoder.
            DiskError: No space for the arrays.
        """
        return self._answer(payload, workdir).to_api()

    def _answer(self, payload: dict[str, Any], workdir: Path) -> ObservedModel:
        match REQUEST.validate_python(payload):
            case SampleFiles() as files:
                found = self._decoder.samples(files)
                self._samples = found.inputs
                written = _written(found.patches, workdir)
                names = dict(zip(written.names, written.files, strict=True))
                return Checked(statistics=found.statistics, patches=names)
            case ReferenceFiles() as references:
                self._references = self._decoder.references(references)
                return Checked()
            case Read() as read:
                return _written(self._read(read), workdir)
            case ListArchive() as archive:
                (workdir / _MEMBERS).write_text(
                    archives.members(Path(archive.file)).model_dump_json()
                )
                return Listed(file=_MEMBERS)
            case UnpackArchive() as archive:
                archives.unpack(Path(archive.file), archive.names, workdir)
                return Checked()

    def _read(self, read: Read) -> Mapping[str, Array]:
        if read.of == "samples" and self._samples is not None:
            return self._samples[read.index]
        if read.of == "references" and self._references is not None:
            return {str(n): array for n, array in enumerate(self._references(read.index))}
        raise DataError(f"no {read.of} were opened")


def _written(arrays: Mapping[str, Array], workdir: Path) -> Arrays:
    files: list[str] = []
    for index, array in enumerate(arrays.values()):
        files.append(f"{index}.npy")
        save_array(workdir / files[-1], array)
    return Arrays(names=list(arrays), files=files)


if __name__ == "__main__":
    sys.exit(serve(DecodingSession()))
