"""Reads the signature of a form's file: of a model in an enclosed child, of an
engine from its manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.base import ObservedModel
from mopt_api.jobs.measure_result import MeasureResult
from mopt_optimizer.errors import ModelError
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.tensorrt.manifest import (
    EngineManifest,
    TensorEntry,
    check_bytes,
    read_manifest,
)
from mopt_optimizer.sandbox import ChildDied, answered, run_child, temporary_folder

from .form import plan_of
from .signature import EngineSignature, Signature, TensorSignature

SIGNATURE_WORKER = "mopt_optimizer.serving.signature_worker"
"""Module of the child that answers a SignatureRequest with a Signature."""

_PATIENCE_SECONDS = 600.0
"""Longest time without a word."""


class SignatureRequest(ObservedModel):
    """A model file on the local disk, with its weights beside it.

    Attributes:
        shapes, types: Of inputs that the file does not tell, as TorchScript: it is run at these.
    """

    path: str
    format: ArtifactFormat
    shapes: dict[str, list[int]] = {}
    types: dict[str, str] = {}


def _ignore(step: str, message: str, **fields: object) -> None:
    pass


def signature_request(result: MeasureResult, artifact: Artifact, path: Path) -> SignatureRequest:
    """Return the request for the signature of a result's file. Pure.

    Raises:
        UnservableForm: As plan_of.
    """
    plan = plan_of(result)
    shapes = {
        spec.name: [
            plan.dimensions[size].opt if isinstance(size, str) else size for size in spec.shape
        ]
        for spec in plan.inputs
    }
    types = {spec.name: spec.dtype.value for spec in plan.inputs}
    return SignatureRequest(path=str(path), format=artifact.format, shapes=shapes, types=types)


def read_signature(
    request: SignatureRequest,
    workdir: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    log: Log = _ignore,
) -> Signature:
    """Return the signature of a file.

    Args:
        workdir: Where temporary files go; None is the system's place.

    Raises:
        ModelError, UnsafeModelError: It cannot be opened; the process that opened it died.
        DamagedEngine, UnusableEngine, DigestMismatch: An engine that does not match its manifest.
        DiskError: No space for the checked copy.
    """
    path = Path(request.path)
    if request.format is ArtifactFormat.TENSORRT_ENGINE:
        return engine_signature(path)
    try:
        with temporary_folder(workdir, prefix="signature-") as folder:
            answer = run_child(
                SIGNATURE_WORKER,
                request.to_api(),
                folder,
                read=[path.parent],
                environ=environ,
                log=log,
                patience=lambda _step: _PATIENCE_SECONDS,
            )
            return answered(Signature, answer)
    except ChildDied as error:
        raise ModelError(f"the process that opened {path.name} {error.how()}") from error


def engine_signature(path: Path) -> Signature:
    """Return the signature of an engine, from the manifest beside it; its bytes are checked.

    Raises:
        DamagedEngine, UnusableEngine, DigestMismatch: As in read_manifest and check_bytes.
    """
    manifest = read_manifest(path)
    check_bytes(path, manifest)
    return signature_of(manifest)


def signature_of(manifest: EngineManifest) -> Signature:
    """Return the signature of an engine. Pure."""
    profiles = {
        entry.name: (list(entry.profile.minimum), list(entry.profile.maximum))
        for entry in manifest.inputs
        if entry.profile is not None
    }
    return Signature(
        inputs=[_tensor(entry) for entry in manifest.inputs],
        outputs=[_tensor(entry) for entry in manifest.outputs],
        engine=EngineSignature(
            backend=manifest.backend,
            tensorrt_version=manifest.tensorrt_version,
            version_compatible=manifest.version_compatible,
            profiles=profiles,
        ),
    )


def _tensor(entry: TensorEntry) -> TensorSignature:
    dims = [None if size < 0 else size for size in entry.shape]
    return TensorSignature(name=entry.name, dtype=entry.dtype, dims=dims)
