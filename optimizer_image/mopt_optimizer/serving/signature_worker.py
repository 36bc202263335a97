"""Reads a model file's signature in a process of its own: local files only, no credentials."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import ModelFormat
from mopt_optimizer.errors import ModelError
from mopt_optimizer.formats.base import DescribedValue, DescribeRequest
from mopt_optimizer.formats.registry import describe_file
from mopt_optimizer.opening.safety import is_tar
from mopt_optimizer.progress import Log
from mopt_optimizer.sandbox import serve

from .reading import SignatureRequest
from .signature import Signature, TensorSignature


def handle(payload: dict[str, Any], workdir: Path, log: Log) -> dict[str, Any]:
    """Return a Signature; raises as describe_file."""
    log("signature", "opening the model")
    return signature_of_file(SignatureRequest.model_validate(payload), workdir).to_api()


def signature_of_file(request: SignatureRequest, workdir: Path) -> Signature:
    """Return the signature of a model file. TorchScript, which does not tell its outputs, is run
    once.

    Raises:
        ModelError: It does not run.
        UnsafeModelError, DiskError: As describe_file.
    """
    question = DescribeRequest(
        path=request.path,
        format=ModelFormat(request.format.value),
        shapes=request.shapes,
        types=request.types,
    )
    told = describe_file(question, _folder(workdir, "told"))
    seen = told
    if request.format is ArtifactFormat.TORCH_SCRIPT:
        seen = describe_file(question.model_copy(update={"run": True}), _folder(workdir, "seen"))
    if seen.failure is not None:
        raise ModelError(f"{Path(request.path).name} does not run: {seen.failure}")
    return Signature(
        inputs=[_tensor(value) for value in told.inputs],
        outputs=[_tensor(value) for value in seen.outputs],
        archive=is_tar(Path(request.path)),
    )


def _folder(workdir: Path, name: str) -> Path:
    folder = workdir / name
    folder.mkdir()
    return folder


def _tensor(value: DescribedValue) -> TensorSignature:
    """Return a value's signature; what was only seen in a run tells the rank, not the sizes."""
    dims: list[int | str | None] | None = None
    if value.axes is not None:
        dims = [axis.symbol if axis.size is None else axis.size for axis in value.axes]
    elif value.seen is not None:
        dims = [None] * len(value.seen.shape)
    return TensorSignature(name=value.name, dtype=value.dtype, dims=dims)


if __name__ == "__main__":
    sys.exit(serve(handle))
