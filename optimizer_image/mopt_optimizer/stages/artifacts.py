"""Model files as artifacts in a store: an ONNX file, and the files of weights that it refers to."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from mopt_api.artifacts import (
    ENGINE_MANIFEST_SUFFIX,
    Artifact,
    ArtifactFormat,
    ExternalData,
    file_name,
)
from mopt_api.enums import ModelFormat
from mopt_api.formats import FORMATS
from mopt_optimizer.sandbox import copy_made, made_file
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.files import fetch_files

ONNX_FILE = file_name(ArtifactFormat.ONNX)
DATA_SUFFIX = ".data"
"""Name of an artifact's ONNX file on the local disk; weights that do not fit into it are in
model.onnx.data beside it."""


def made_model(folder: Path, name: str) -> Path:
    """Return the path of a model that an ended child made in its folder, with its weights.

    Raises:
        ModelError: As sandbox.made_file.
    """
    if os.path.lexists(folder / f"{name}{DATA_SUFFIX}"):
        made_file(folder, f"{name}{DATA_SUFFIX}")
    return made_file(folder, name)


def made_engine(folder: Path, name: str) -> Path:
    """Return the path of an engine that an ended child made in its folder, with its manifest.

    Raises:
        ModelError: As sandbox.made_file.
    """
    made_file(folder, f"{name}{ENGINE_MANIFEST_SUFFIX}")
    return made_file(folder, name)


def copied_engine(folder: Path, name: str, target: Path) -> Path:
    """Copy an engine with its manifest from a child's folder; return the copy.

    Raises:
        ModelError, DiskError: As sandbox.copy_made.
    """
    target.mkdir(parents=True)
    engine = target / PurePosixPath(name).name
    copy_made(
        folder, f"{name}{ENGINE_MANIFEST_SUFFIX}", target / f"{engine.name}{ENGINE_MANIFEST_SUFFIX}"
    )
    return copy_made(folder, name, engine)


def model_files(path: Path) -> list[Path]:
    """Return the files of a model on the local disk: its own, and that of its weights."""
    beside = path.with_name(f"{path.name}{DATA_SUFFIX}")
    return [path, *([beside] if beside.is_file() else [])]


def put_model(blobs: Blobs, path: Path) -> Artifact:
    """Store an ONNX file with its weights, or a .pt2.

    Raises:
        StoreError, DiskError.
    """
    if path.suffix != FORMATS[ModelFormat.EXPORTED_PROGRAM].suffix:
        return put_onnx(blobs, path)
    digest = blobs.put_file(path)
    return Artifact(
        digest=digest,
        size_bytes=path.stat().st_size,
        format=ArtifactFormat.EXPORTED_PROGRAM,
        uri=blobs.uri(digest),
    )


def put_engine(blobs: Blobs, path: Path) -> Artifact:
    """Store a TensorRT engine, after the manifest beside it, which says where it may run.

    Raises:
        StoreError, DiskError.
    """
    beside = path.with_name(f"{path.name}{ENGINE_MANIFEST_SUFFIX}")
    manifest = ExternalData(
        path=beside.name, digest=blobs.put_file(beside), size_bytes=beside.stat().st_size
    )
    digest = blobs.put_file(path)
    return Artifact(
        digest=digest,
        size_bytes=path.stat().st_size + manifest.size_bytes,
        format=ArtifactFormat.TENSORRT_ENGINE,
        uri=blobs.uri(digest),
        external_data=[manifest],
    )


def fetch_model(blobs: Blobs, artifact: Artifact, folder: Path) -> Path:
    """Write an artifact's files, each verified, to a folder; return what is opened.

    Raises:
        DigestMismatch, StoreError, DiskError: As store.files.fetch_files.
    """
    return next(iter(fetch_files(blobs, artifact, folder).values()))


def put_onnx(blobs: Blobs, path: Path) -> Artifact:
    """Store an ONNX file, after the file beside it that its weights lie in, if there is one.

    Raises:
        StoreError, DiskError.
    """
    # By its name, not by what the file says: this process opens no model.
    beside = path.with_name(f"{path.name}{DATA_SUFFIX}")
    data = [
        ExternalData(path=file.name, digest=blobs.put_file(file), size_bytes=file.stat().st_size)
        for file in [beside]
        if file.is_file()
    ]
    digest = blobs.put_file(path)
    return Artifact(
        digest=digest,
        size_bytes=path.stat().st_size + sum(d.size_bytes for d in data),
        format=ArtifactFormat.ONNX,
        uri=blobs.uri(digest),
        external_data=data or None,
    )


def identity(artifact: Artifact) -> str:
    """Return what identifies an artifact: its digest, and those of its weights."""
    return ",".join([artifact.digest, *(data.digest for data in artifact.external_data or ())])


def intact(blobs: Blobs, artifact: Artifact) -> bool:
    """Return whether all of an artifact's objects are stored, undamaged; reads all of them."""
    objects = [(artifact.digest, artifact.object_bytes)]
    objects += [(data.digest, data.size_bytes) for data in artifact.external_data or ()]
    return all(blobs.intact(digest, size) for digest, size in objects)
