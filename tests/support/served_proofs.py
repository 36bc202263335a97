"""A registry that runs, and images with their proofs that are published to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proof_mutations import Published
from proved_image import Folder, Pushed, publish
from registry import Registry, running_registry

from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE
from mopt_optimizer.digests import bytes_digest
from mopt_optimizer.publishing.manifests import INDEX, MANIFEST, Document
from mopt_optimizer.publishing.registry import open_registry


@dataclass(frozen=True)
class Served:
    """A registry, and what publishes to it.

    Attributes:
        folder: What is published is made there.
    """

    registry: Registry
    folder: Path
    environ: dict[str, str]

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.registry.address

    def publish(self, path: str, key: Path | None, **changed: Any) -> str:
        """Publish an image and return it by digest."""
        repository = f"{self.address}/{path}"
        with open_registry(repository, self.environ, insecure=True) as opened:
            digest = publish(Pushed(opened), self.folder / path, key, **changed)
        return f"{repository}@{digest}"

    @contextmanager
    def holding(self, path: str, image: Published, original: Folder) -> Iterator[str]:
        """Give an image by its digest while the registry has what a layout has.

        Args:
            image: A changed copy of the original. Files that were damaged under their names are
                damaged in the registry.
        """
        repository = f"{self.address}/{path}"
        files = {f"sha256:{file.name}": file.read_bytes() for file in image.blobs()}
        damaged = {name: data for name, data in files.items() if bytes_digest(data) != name}
        whole = files | {name: original.file(name).read_bytes() for name in damaged}
        with open_registry(repository, self.environ, insecure=True) as opened:
            _push(Pushed(opened), whole)
        try:
            for name, data in damaged.items():
                self._stored(name).write_bytes(data)
            yield f"{repository}@{image.subject}"
        finally:
            # Its repositories share what has the same digest.
            for name in damaged:
                self._stored(name).write_bytes(whole[name])

    def _stored(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        blobs = self.registry.storage / "docker" / "registry" / "v2" / "blobs" / "sha256"
        return blobs / name[:2] / name / "data"


def _push(sink: Pushed, files: dict[str, bytes]) -> None:
    """Push a layout's files: what a manifest names comes before it."""
    manifests: list[dict[str, Any]] = []
    for digest, data in files.items():
        found = _manifest(data)
        if found is None:
            sink.blob(data)
        else:
            manifests.append(found | {"digest": digest})
    manifests.sort(key=lambda found: ("subject" in found, found["mediaType"] == INDEX))
    for found in manifests:
        subject = found.get("subject", {}).get("digest")
        document = Document(
            found["mediaType"],
            files[found["digest"]],
            found.get("artifactType"),
            found.get("annotations", {}),
        )
        if subject is None:
            sink.document(document)
        else:
            sink.refer(subject, document)


def _manifest(data: bytes) -> dict[str, Any] | None:
    """Return a manifest or an index; None of anything else."""
    if data[:1] != b"{":
        return None
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError:
        return None
    return found if found.get("mediaType") in (MANIFEST, INDEX) else None


@contextmanager
def served_proofs(folder: Path) -> Iterator[Served]:
    """Run a registry of its own in a folder."""
    with running_registry(folder / "registry") as running:
        nowhere = {REGISTRY_AUTH_VARIABLE: str(folder / "none.json")}
        yield Served(running, folder, nowhere)
