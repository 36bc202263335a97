"""Flux as tests see it: an archive that it applies, a source, a Kustomization."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml
from light_cluster import Api

Json = dict[str, Any]

# The machine may be busy.
PATIENCE = 60.0


def archive(files: Mapping[str, str]) -> bytes:
    """Return the same tar.gz for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


class Git:
    """What a Kustomization follows, filled in by the test: each revision is a folder of files."""

    def __init__(self, api: Api, namespace: str, name: str, site: tuple[Path, str]) -> None:
        self._api = api
        self._folder, self._url = site
        self.name = name
        self.manifest: Json = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "ExternalArtifact",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {},
        }
        api.create(self.manifest)

    def push(self, files: Mapping[str, str]) -> str:
        """Make these files the newest revision and return its name."""
        packed = archive(files)
        digest = hashlib.sha256(packed).hexdigest()
        file = f"{digest}.tar.gz"
        (self._folder / file).write_bytes(packed)
        revision = f"latest@sha256:{digest}"
        artifact = {
            "digest": f"sha256:{digest}",
            "revision": revision,
            "path": file,
            "url": f"{self._url}/{file}",
            "lastUpdateTime": "2026-11-01T12:00:00Z",
            "size": len(packed),
        }
        path = self._api.path(self.manifest) + "/status"
        self._api.call("PATCH", path, {"status": {"artifact": artifact}}, "merge-patch+json")
        return revision


class Kustomization:
    """A Kustomization, which waits until what it applied is ready."""

    def __init__(self, api: Api, namespace: str, source: Json, **spec: object) -> None:
        self._api = api
        self.manifest: Json = {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": source["name"], "namespace": namespace},
            "spec": {
                "interval": "10m",
                "retryInterval": "15s",
                # Longer than any test waits: what ends sooner did not run into it.
                "timeout": "5m",
                "prune": True,
                "wait": True,
                "path": "./",
                "sourceRef": source,
            }
            | spec,
        }
        api.create(self.manifest)
        self._path = api.path(self.manifest)

    def status(self) -> Json:
        found: Json = self._api.call("GET", self._path).get("status", {})
        return found

    def said(self) -> dict[str, tuple[str, str]]:
        """Return status and reason of each condition."""
        found = self.status().get("conditions", [])
        return {c["type"]: (c["status"], c["reason"]) for c in found}

    def message(self, kind: str = "Ready") -> str:
        """Return the message of a condition."""
        found = self.status()["conditions"]
        return str(next(c["message"] for c in found if c["type"] == kind))

    def wait(self, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Return the first true answer of a look, or fail with the status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited in vain; status {yaml.safe_dump(self.status())}")

    def wait_applied(self, revision: str) -> None:
        """Wait until a revision is applied and all of it is ready."""
        self.wait(
            lambda: (
                self.said().get("Ready") == ("True", "ReconciliationSucceeded")
                and self.status().get("lastAppliedRevision") == revision
            )
        )


class MakeGit(Protocol):
    """Makes sources of Kustomizations."""

    def __call__(self, namespace: str, name: str) -> Git: ...


class MakeKustomization(Protocol):
    """Makes Kustomizations; further arguments are fields of spec."""

    def __call__(self, namespace: str, source: Json, **spec: object) -> Kustomization: ...


class Kubectl(Protocol):
    """Runs kubectl as the administrator and returns what it prints."""

    def __call__(self, *arguments: str, stdin: str = ...) -> str: ...


class Registry(Protocol):
    """An OCI registry of the test's own, without TLS, and the tools that write to it."""

    address: str

    def push(self, repository: str, packed: bytes) -> str: ...
    def sign(self, repository: str, digest: str, key: Path) -> None: ...
    def tag(self, repository: str, digest: str, tag: str) -> None: ...
    def make_key(self, name: str) -> Path: ...
