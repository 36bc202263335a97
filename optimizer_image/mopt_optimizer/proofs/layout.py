"""An OCI image layout, a folder, read as a repository: images on a disk, without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import ObjectNotFound

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REF_NAME = "org.opencontainers.image.ref.name"
_MOST_MANIFEST = 4 * 1024 * 1024
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """A manifest as its bytes; its digest is the one that it was asked for by."""

    digest: str
    data: bytes


class Layout:
    """A folder as `oras copy --to-oci-layout` and `cosign save` write it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self, name: str) -> Stored | None:
        """Return the manifest under a tag or digest; None where there is none."""
        digest = name if _DIGEST.fullmatch(name) else self._tagged(name)
        path = None if digest is None else self._path(digest)
        if digest is None or path is None or not path.is_file():
            return None
        return Stored(digest, path.read_bytes())

    def referrers(self, subject: str) -> bytes | None:
        """Return an index of the manifests that refer to another one."""
        entries = [
            {"digest": digest, "artifactType": manifest.get("artifactType")}
            for digest, manifest in self._referring
            if manifest["subject"].get("digest") == subject
        ]
        return json.dumps({"manifests": entries}).encode() if entries else None

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of a blob.

        Raises:
            ObjectNotFound
        """
        path = self._path(digest)
        if path is None or not path.is_file():
            raise ObjectNotFound(f"{self._folder} has no blob {digest}")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    @cached_property
    def _referring(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for path in sorted((self._folder / "blobs" / "sha256").iterdir()):
            if path.stat().st_size > _MOST_MANIFEST:
                continue
            manifest = _json(path)
            if isinstance(manifest, dict) and isinstance(manifest.get("subject"), dict):
                found.append((f"sha256:{path.name}", manifest))
        return found

    def _tagged(self, name: str) -> str | None:
        index = _json(self._folder / "index.json")
        entries = index.get("manifests", []) if isinstance(index, dict) else []
        named = [e for e in entries if (e.get("annotations") or {}).get(_REF_NAME) == name]
        return str(named[0]["digest"]) if len(named) == 1 else None

    def _path(self, digest: str) -> Path | None:
        if not _DIGEST.fullmatch(digest):
            return None
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
