"""Reads an image and what is attached to it; every byte is held to the digest that names it."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from mopt_api.publishing import MODEL_PATH
from mopt_optimizer.digests import bytes_digest, file_digest
from mopt_optimizer.errors import ProofRefused, RegistryError, StoreError

from .referrer import BUNDLE, CYCLONEDX, IN_TOTO, REPORT

MODELS = "models"
"""Folder at the root of an image that its files lie in: KServe links that of a modelcar to
/mnt/models."""
_OURS = {BUNDLE, CYCLONEDX, IN_TOTO, REPORT}
_MODEL_LAYERS = "application/vnd.cncf.model."
_MOST_ATTACHED = 256
_MOST_BYTES = 64 * 1024 * 1024  # of what is attached; a report holds pictures
_CHUNK = 1024 * 1024


class Manifest(Protocol):
    """A manifest or index, as its bytes."""

    @property
    def data(self) -> bytes: ...

    @property
    def digest(self) -> str: ...


class Repository(Protocol):
    """What is read from: publishing.registry.Registry, or layout.Layout."""

    def manifest(self, name: str) -> Manifest | None: ...

    def referrers(self, subject: str) -> bytes | None: ...

    def chunks(self, digest: str) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Attached:
    """What one referrer holds.

    Attributes:
        digest: Of its manifest.
        fault: Why it cannot be used; content is empty then.
    """

    digest: str
    artifact_type: str
    content: bytes = b""
    fault: str | None = None


def document(repository: Repository, name: str) -> tuple[str, dict[str, Any]]:
    """Return the digest and the JSON of a manifest or index under a tag or digest.

    Raises:
        ProofRefused: There is none, or it is not that of its digest.
        RegistryError
    """
    found = repository.manifest(name)
    if found is None:
        raise ProofRefused(f"there is no manifest {name}")
    digest = bytes_digest(found.data)
    if name.startswith("sha256:") and digest != name:
        raise ProofRefused(f"the manifest {name} is not that of its digest")
    return digest, _object(found.data, f"the manifest {digest}")


def attached(repository: Repository, subject: str) -> list[Attached]:
    """Return what refers to an image and is of a kind that mopt attaches.

    Raises:
        ProofRefused: The list of referrers cannot be read.
        RegistryError
    """
    index = repository.referrers(subject)
    if index is None:
        return []
    entries = _object(index, "the list of referrers").get("manifests")
    if not isinstance(entries, list) or len(entries) > _MOST_ATTACHED:
        raise ProofRefused(f"the list of referrers has more than {_MOST_ATTACHED}, or is none")
    return [
        _attached(repository, subject, str(entry.get("digest")), str(entry.get("artifactType")))
        for entry in entries
        if isinstance(entry, dict) and entry.get("artifactType") in _OURS
    ]


def _attached(repository: Repository, subject: str, digest: str, kind: str) -> Attached:
    try:
        _, manifest = document(repository, digest)
        if _digest(manifest.get("subject")) != subject or manifest.get("artifactType") != kind:
            return Attached(digest, kind, fault="its manifest refers to something else")
        layers = manifest.get("layers")
        if not isinstance(layers, list) or len(layers) != 1:
            return Attached(digest, kind, fault="its manifest has not one layer")
        held(repository, manifest)
        content = b"".join(_checked(repository, _digest(layers[0]), _MOST_BYTES))
    except (ProofRefused, RegistryError, StoreError) as error:
        return Attached(digest, kind, fault=str(error))
    return Attached(digest, kind, content)


def held(repository: Repository, manifest: Mapping[str, Any]) -> None:
    """Hold a manifest's config to its digest.

    Raises:
        ProofRefused: It is not that of its digest.
        RegistryError
    """
    for _ in _checked(repository, _digest(manifest.get("config")), _MOST_BYTES):
        pass


def unpack(repository: Repository, manifest: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write the files of an image to a folder, and return their digests by relative path.

    Raises:
        ProofRefused: A layer is damaged, or holds what mopt does not publish.
        OSError, RegistryError
    """
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not layers:
        raise ProofRefused("the image has no layers")
    held(repository, manifest)
    for layer in layers:
        with tempfile.TemporaryFile() as file:
            for chunk in _checked(repository, _digest(layer)):
                file.write(chunk)
            file.seek(0)
            if str(layer.get("mediaType")).startswith(_MODEL_LAYERS):
                name = str((layer.get("annotations") or {}).get(MODEL_PATH))
                _write(folder, name, file)
            else:
                _extract(folder, file, str(layer.get("digest")))
    return {
        file.relative_to(folder).as_posix(): file_digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _extract(folder: Path, file: IO[bytes], layer: str) -> None:
    """Write what a layer has under models; a base image's other files are passed over."""
    try:
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.parts[:1] != (MODELS,) or member.isdir():
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or path.name.startswith(".wh."):
                    raise ProofRefused(f"layer {layer} has {member.name}, which is no file")
                _write(folder, str(path.relative_to(MODELS)), content)
    except tarfile.TarError as error:
        raise ProofRefused(f"layer {layer} is no tar") from error


def _write(folder: Path, name: str, content: IO[bytes]) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ProofRefused(f"{name!r} is no path in an image")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        while chunk := content.read(_CHUNK):
            out.write(chunk)


def _checked(
    repository: Repository, digest: str | None, most: int | None = None
) -> Iterator[bytes]:
    if digest is None:
        raise ProofRefused("a manifest names an object without a digest")
    found, size = hashlib.sha256(), 0
    for chunk in repository.chunks(digest):
        found.update(chunk)
        size += len(chunk)
        if most is not None and size > most:
            raise ProofRefused(f"{digest} has more than {most} bytes")
        yield chunk
    if f"sha256:{found.hexdigest()}" != digest:
        raise ProofRefused(f"the bytes of {digest} are not those of this digest")


def _digest(descriptor: object) -> str | None:
    found = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return found if isinstance(found, str) else None


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ProofRefused(f"{what} is no JSON") from error
    if not isinstance(found, dict):
        raise ProofRefused(f"{what} is no JSON object")
    return found
