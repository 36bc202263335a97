"""The files of an artifact, from the store to the disk."""

from __future__ import annotations

from pathlib import Path

from mopt_api.artifacts import Artifact, artifact_files

from .blobs import Blobs


def fetch_files(blobs: Blobs, artifact: Artifact, folder: Path) -> dict[str, Path]:
    """Write an artifact's files to a folder, each verified; return them by digest, first what is
    opened.

    Args:
        folder: Is made; one per artifact, since names of files repeat.

    Raises:
        DigestMismatch: The store holds other bytes under a digest.
        StoreError, DiskError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = artifact_files(artifact)
    for file in files:
        blobs.fetch(file.digest, folder / file.name)
    return {file.digest: folder / file.name for file in files}
